// The form that sends: what is typed becomes a message, whose bytes are counted. What the message may be,
// the server says when it refuses one; here is only what a person forgets.

import * as envelope from './envelope.js';
import { Recipients } from './recipients.js';
import * as server from './server.js';
import { byId, number, setText } from './texts.js';

/** Of a vehicle that may not exist. */
const UNSEEN = 'accepted, but nothing was heard of this vehicle since the server started: is the VIN right?';

const exact = (count) => count.toLocaleString('en');

export class SendForm {
  /** `sent` is told of a message that was accepted, `sentToMany` of a fleet message; `vehicles` tells those that are shown. */
  constructor({ sent, sentToMany, vehicles }) {
    Object.assign(this, { sent, sentToMany });
    this.bytesMax = 0;
    this.form = byId('send-form');
    this.recipients = new Recipients(this.form, vehicles);
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
    if (this.bytesMax === limits.payloadBytes) return;
    this.bytesMax = limits.payloadBytes;
    byId('send-uid').placeholder = partner;
    this.count();
  }

  get isPopup() {
    return this.form.elements.kind.value === 'popup';
  }

  /** Only a message with receipts to one vehicle takes the place of another. */
  get mayHaveKey() {
    return !this.isPopup && byId('send-receipts').checked && !this.recipients.areMany;
  }

  /** The message that is typed. */
  message() {
    const [app, content] = [byId('send-app').value, byId('content').value];
    const [button, text] = [byId('popup-button').checked, byId('popup-text').value];
    const members = this.isPopup ? { idApp: app, popup: true, popupBtn: button, popupText: text } : { idApp: app, popup: false };
    return envelope.message(members, content);
  }

  /** Shows how large it is; says whether it may be sent. */
  count() {
    byId('popup-fields').hidden = !this.isPopup;
    // A popup carries none.
    byId('receipts-field').hidden = this.isPopup;
    byId('key-field').hidden = !this.mayHaveKey;
    this.recipients.show();
    setText(byId('content-label'), this.isPopup ? 'Content (JSON), if the app is to get any with the answer' : 'Content (JSON)');
    const size = envelope.utf8(this.message());
    const isOver = this.bytesMax > 0 && size > this.bytesMax;
    setText(byId('size-text'), `${exact(size)} of ${exact(this.bytesMax)} bytes${isOver ? ': too large' : ''}`);
    byId('content-size').toggleAttribute('data-over', isOver);
    byId('content').setAttribute('aria-invalid', isOver);
    const meter = byId('size-meter');
    if (this.bytesMax > 0) meter.max = this.bytesMax;
    meter.value = size;
    byId('send-button').disabled = isOver;
    setText(byId('fault'), '');
    setText(byId('sent'), '');
    return !isOver;
  }

  /** What is missing, or is no JSON, in a sentence, and where. */
  fault() {
    const [fault, at] = this.recipients.fault();
    if (fault) return [fault, at];
    if (!byId('send-app').value) return ['name the app by its idApp', 'send-app'];
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
    const text = this.message();
    const asked = { uid: byId('send-uid').value.trim(), ttl: byId('send-ttl').value.trim() };
    if (!this.isPopup && byId('send-receipts').checked) asked.receipts = 'yes';
    if (this.mayHaveKey) asked.key = byId('send-key').value;
    try {
      if (this.recipients.areMany) await this.submitToMany(text, asked);
      else await this.submitToOne(text, asked);
    } catch (error) {
      setText(byId('fault'), error.message);
    } finally {
      this.isBusy = false;
    }
  }

  async submitToOne(text, asked) {
    const accepted = await server.send(byId('send-vin').value.trim(), text, asked);
    setText(byId('sent'), accepted.seen ? 'accepted' : UNSEEN);
    this.sent(accepted.id);
  }

  async submitToMany(text, asked) {
    const rate = byId('send-rate').value.trim();
    const fleet = await server.sendToMany(text, this.recipients.asked(), { ...asked, rate });
    const { vehicles, unseen, unseenVins = [] } = fleet;
    const strange = unseen ? `; nothing was heard of ${number(unseen)} of them since the server started, such as ${unseenVins[0]}: are the VINs right?` : '';
    setText(byId('sent'), `accepted for ${number(vehicles)} ${vehicles === 1 ? 'vehicle' : 'vehicles'}${strange}`);
    this.sentToMany(fleet);
  }

  /** Fills in a vehicle. */
  to(vin) {
    this.recipients.to(vin);
    this.count();
  }

  /** Lets who uses it write to many. */
  toMany() {
    this.recipients.choose('filter');
    this.count();
    byId('send-prefix').focus();
  }

  /** Fills in a message that was sent before. */
  again({ vin, uid, app, key }, text) {
    if (vin) this.recipients.choose('one');
    byId('send-vin').value = vin ?? '';
    byId('send-app').value = app;
    byId('send-uid').value = uid;
    byId('send-key').value = key ?? '';
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
