// The form that sends: what is typed becomes the envelope whose bytes are counted.

import * as envelope from './envelope.js';
import * as server from './server.js';
import { byId, setText } from './texts.js';

const exact = (count) => count.toLocaleString('en');

export class SendForm {
  constructor(sent) {
    this.sent = sent;
    this.limits = { payloadBytes: 0, popupTextBytes: 0 };
    this.form = byId('send-form');
    this.form.addEventListener('input', () => this.count());
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.submit();
    });
    this.count();
  }

  /** What the server allows, and whom it sends as by default. */
  allow({ limits, partner }) {
    if (this.limits.payloadBytes === limits.payloadBytes) return;
    this.limits = limits;
    byId('send-uid').placeholder = partner;
    this.count();
  }

  get isPopup() {
    return this.form.elements.kind.value === 'popup';
  }

  /** The envelope of what is typed. */
  envelope() {
    const [app, content] = [byId('send-app').value, byId('content').value];
    if (!this.isPopup) return envelope.data(app, content);
    return envelope.popup(app, byId('popup-text').value, byId('popup-button').checked, content);
  }

  /** Shows how large it is; says whether it may be sent. */
  count() {
    const { payloadBytes, popupTextBytes } = this.limits;
    byId('popup-fields').hidden = !this.isPopup;
    setText(byId('content-label'), this.isPopup ? 'Content (JSON), if the app is to get any with the answer' : 'Content (JSON)');
    const size = envelope.utf8(this.envelope());
    const isOver = payloadBytes > 0 && size > payloadBytes;
    setText(byId('size-text'), `${exact(size)} of ${exact(payloadBytes)} bytes${isOver ? ': too large' : ''}`);
    byId('content-size').toggleAttribute('data-over', isOver);
    byId('content').setAttribute('aria-invalid', isOver);
    const meter = byId('size-meter');
    if (payloadBytes > 0) meter.max = payloadBytes;
    meter.value = size;
    let isTextOver = false;
    if (this.isPopup) {
      const text = envelope.popupTextBytes(byId('popup-text').value);
      isTextOver = popupTextBytes > 0 && text > popupTextBytes;
      setText(byId('popup-size'), `${exact(text)} of ${exact(popupTextBytes)} bytes${isTextOver ? ': too large' : ''}`);
      byId('popup-size').toggleAttribute('data-over', isTextOver);
      byId('popup-text').setAttribute('aria-invalid', isTextOver);
    }
    byId('send-button').disabled = isOver || isTextOver;
    setText(byId('fault'), '');
    setText(byId('sent'), '');
    return !isOver && !isTextOver;
  }

  /** What is missing or wrong, in a sentence, and where. */
  fault() {
    if (byId('send-vin').value.trim().length !== 17) return ['a VIN has 17 letters and digits', 'send-vin'];
    if (!byId('send-app').value) return ['name the app by its idApp', 'send-app'];
    if (this.isPopup && !byId('popup-text').value.trim()) return ['a popup needs a text that the driver can read', 'popup-text'];
    const content = byId('content').value;
    const isNeeded = !this.isPopup || content.trim();
    return [isNeeded ? envelope.fault(content) : '', 'content'];
  }

  async submit() {
    if (!this.count() || this.isBusy) return;
    const [fault, at] = this.fault();
    if (fault) {
      setText(byId('fault'), fault);
      byId(at).focus();
      return;
    }
    this.isBusy = true;
    const text = this.envelope();
    try {
      const accepted = await server.send(byId('send-vin').value.trim(), text, byId('send-uid').value.trim(), byId('send-ttl').value.trim());
      setText(byId('sent'), 'accepted');
      this.sent(accepted.id);
    } catch (error) {
      setText(byId('fault'), error.message);
    } finally {
      this.isBusy = false;
    }
  }

  /** Fills in a vehicle. */
  to(vin) {
    byId('send-vin').value = vin;
    this.count();
  }

  /** Fills in a message that was sent before. */
  again({ vin, uid, app }, text) {
    byId('send-vin').value = vin;
    byId('send-app').value = app;
    byId('send-uid').value = uid;
    const message = JSON.parse(text);
    this.form.elements.kind.value = message.popup ? 'popup' : 'data';
    byId('popup-text').value = message.popupText ?? '';
    byId('popup-button').checked = message.popupBtn ?? false;
    // As it was written, and not as it would be written again.
    byId('content').value = 'content' in message ? envelope.lastMember(text, 'content') : '';
    this.count();
    byId('content').focus();
  }
}
