// One app: its page in a frame, its line to the agent, and what goes between the two.
//
// The frame is of another origin than this page. Whose message it is, is told by the window that it
// came from and its origin, never by what is in it.

import { Line } from './line.js';
import { Mailbox } from './mailbox.js';
import { Outgoing } from './outgoing.js';
import { Requests } from './requests.js';

const CONFIRM_DELAY_MS = 10;
const CONFIRM_AGAIN_MS = 1000;
const CONFIRM_ID = 'confirm';

/**
 * So many messages in a window of time, or so much of this page's time for them, and the app is closed: it
 * would keep this page from all others.
 */
const WINDOW_MS = 2000;
const MESSAGES_MAX = 4000;
const BUSY_MS_MAX = 1000;

/** Numbers in one confirmation. */
const NUMBERS_MAX = 256;

export class App {
  /** What the driver does: shown, or not. The agent hears it from the screen. */
  inBackground;
  #appId;
  #url;
  #origin;
  #frame;
  #line;
  #mailbox = new Mailbox();
  #outgoing;
  #requests;
  #on;
  #loaded = false;
  /** Whether the document in the frame said so itself. */
  #documentLoaded = false;
  /** Whether the agent said, to one document or another, that the app is shown. */
  #isShown = false;
  /** The vehicle's link to its broker, as the app was told of it. */
  #link;
  /** The document in the frame: none that listens, being read, complete. */
  #document = 'none';
  /** The numbers that the agent has listed since the last welcome. */
  #numbers = [];
  #toConfirm = new Set();
  #confirming;
  #window = 0;
  #messages = 0;
  #busyMs = 0;

  /** `on.ended(reason, message)` when the app is closed, `on.frame(element)` once it has a frame. */
  constructor({ appId, url }, inBackground, on) {
    this.#appId = appId;
    this.#url = url;
    this.#origin = new URL(url).origin;
    this.inBackground = inBackground;
    this.#on = on;
    this.#line = new Line(
      'app',
      () => ({ appId, background: this.inBackground, confirm: true }),
      {
        welcome: (value) => this.#welcome(value),
        frame: (frame) => this.#fromAgent(frame),
        down: () => {
          this.#isShown = false;
          this.#linkIs('disconnected');
          this.#outgoing.lineIsDown();
        },
        ended: (reason, message) => {
          this.close();
          on.ended(reason, message);
        },
      },
    );
    this.#outgoing = new Outgoing(this.#line, (type, value) => this.tell(type, value));
    this.#requests = new Requests(this.#outgoing, (answer) => this.#post(answer));
  }

  /** The element that holds the page, once there is one. */
  get frame() {
    return this.#frame;
  }

  /** Ends everything at once. */
  close() {
    clearTimeout(this.#confirming);
    this.#line.close();
    this.#frame?.remove();
    this.#frame = undefined;
  }

  /** Whether a message came from this app's page. */
  isFrom({ source, origin }) {
    return source !== null && source === this.#frame?.contentWindow && origin === this.#origin;
  }

  /** An event for the app. */
  tell(type, value) {
    this.#post(value === undefined ? { type } : { type, value });
  }

  #post(data) {
    this.#frame?.contentWindow?.postMessage(data, this.#origin);
  }

  // From the agent.

  #welcome({ life, frameBytesMax, link }) {
    this.#mailbox.live(life);
    this.#outgoing.bytesMax = frameBytesMax;
    this.#linkIs(link);
    this.#numbers = [];
    // These numbers may be of another life; what is still to confirm, the list shows.
    this.#toConfirm.clear();
    this.#askForList();
    // The page was there before the agent was.
    if (this.#loaded) this.#line.send('{"type":"WebPortal.onApplicationLoaded"}');
  }

  #fromAgent(frame) {
    const { type, value } = frame;
    switch (type) {
      case 'WebPortal.getPendingNotifications':
        return this.#listed(frame);
      case 'WebPortal.onPendingNotification':
        return this.#arrived(frame, false);
      case 'WebPortal.onCurrentNotificationReceived':
        return this.#arrived(frame, true);
      case 'WebPortal.MQTT.evt.messageDelivered':
        return this.#outgoing.delivered(frame.id);
      case 'WebPortal.MQTT.evt.messageNotDelivered':
        return this.#outgoing.notDelivered(frame.id, value);
      case 'error':
        return this.#refused(frame);
      case 'WebPortal.MQTT.evt.status':
        return this.#linkIs(value);
      case 'WebPortal.onApplicationShow':
      case 'WebPortal.onApplicationHide':
        this.#isShown = type === 'WebPortal.onApplicationShow';
        return this.tell(type, value);
      case 'WebPortal.onApplicationUnloaded':
      case 'WebPortal.OverflowPopup':
      case 'WebPortal.onRequestOver':
        return this.tell(type, value);
      default:
        // Popups are shown by the screen.
        return undefined;
    }
  }

  /** The app hears of each change, one that was missed while there was no agent too. */
  #linkIs(state) {
    if (state === this.#link) return;
    this.#link = state;
    this.#requests.link(state);
    this.tell('WebPortal.MQTT.evt.status', state);
  }

  #askForList(after) {
    const type = 'WebPortal.getPendingNotifications';
    this.#line.send(JSON.stringify({ type, value: { confirm: true, after } }));
  }

  /** The agent's list, after each welcome; in several answers where it has little memory. */
  #listed({ value: messages, numbers = [], upto, more }) {
    const kept = messages.map((message, index) => this.#keep(numbers[index], message, false));
    this.#hand(kept.filter(Boolean));
    this.#numbers.push(...numbers);
    if (more) {
      this.#askForList(upto);
      return;
    }
    this.#forgotten(this.#mailbox.forgetOthers(this.#numbers));
    this.#dropOverflow();
    // What the agent still has although it was taken.
    const taken = this.#mailbox.taken.filter((number) => this.#numbers.includes(number));
    this.#confirm(taken);
    this.#open();
  }

  #arrived({ number, oldest, value: message }, current) {
    this.#forgotten(this.#mailbox.forgetBefore(oldest));
    const kept = this.#keep(number, message, current);
    if (!kept) return;
    if (!current) this.#hand([kept]);
    else if (this.#document === 'complete') this.#deliver(kept);
    this.#dropOverflow();
  }

  #dropOverflow() {
    const gone = this.#mailbox.dropOverflow();
    if (gone.length === 0) return;
    this.#forgotten(gone);
    const message = `the app did not take its messages: ${gone.length} were dropped for newer ones`;
    this.tell('error', { reason: 'lost', message });
  }

  #keep(number, message, current) {
    const key = this.#mailbox.put(number, message, current);
    return key && [key, message];
  }

  #hand(messages) {
    if (messages.length > 0 && this.#document !== 'none') {
      this.#post({ type: 'vinbus.keep', messages });
    }
  }

  #forgotten(keys) {
    if (keys.length > 0) this.#post({ type: 'vinbus.forget', keys });
  }

  #deliver([key, value]) {
    // The window passes on what has a key only if it can take it, and takes it with the last one.
    this.#requests.received(value, key);
    this.#post({ type: 'WebPortal.MQTT.evt.messageReceived', value, key });
    this.#post({ type: 'WebPortal.onCurrentNotificationReceived', value, key });
  }

  #refused({ id, value }) {
    if (id === CONFIRM_ID) {
      this.#confirm(this.#mailbox.taken, CONFIRM_AGAIN_MS);
    } else if (!this.#outgoing.notDelivered(id, value)) {
      this.tell('error', value);
    }
  }

  #confirm(numbers, delay = CONFIRM_DELAY_MS) {
    numbers.forEach((number) => this.#toConfirm.add(number));
    if (this.#toConfirm.size === 0) return;
    this.#confirming ??= setTimeout(() => {
      this.#confirming = undefined;
      this.#sendConfirmation([...this.#toConfirm].slice(-NUMBERS_MAX));
    }, delay);
  }

  #sendConfirmation(numbers) {
    if (numbers.length === 0) return;
    this.#toConfirm.clear();
    const type = 'WebPortal.confirmPendingNotifications';
    const frame = JSON.stringify({ type, id: CONFIRM_ID, value: { numbers } });
    if (!this.#line.send(frame)) this.#confirm(numbers, CONFIRM_AGAIN_MS);
  }

  /** Opens the page; its pending messages are there before its first script runs. */
  #open() {
    if (this.#frame) return;
    const frame = document.createElement('iframe');
    frame.name = JSON.stringify({ appId: this.#appId, messages: this.#mailbox.waiting(false) });
    frame.title = this.#appId;
    frame.setAttribute('sandbox', 'allow-scripts allow-same-origin allow-forms');
    frame.allow = '';
    // By it the app's window knows that it was opened here.
    frame.referrerPolicy = 'origin';
    frame.src = this.#url;
    this.#frame = frame;
    this.#on.frame(frame);
  }

  // From the app's page.

  fromPage(event) {
    const begin = performance.now();
    // To read a message takes time as well.
    this.#take(event.data);
    if (!this.#floods(begin)) return;
    this.close();
    this.#on.ended('flood', 'closed, as its messages left the portal no time for anything else');
  }

  #floods(begin) {
    const now = performance.now();
    if (now - this.#window > WINDOW_MS) {
      this.#window = now;
      this.#messages = this.#busyMs = 0;
    }
    this.#messages += 1;
    this.#busyMs += now - begin;
    return this.#messages > MESSAGES_MAX || this.#busyMs > BUSY_MS_MAX;
  }

  #take(data) {
    if (typeof data !== 'object' || data === null) return;
    if (this.#requests.take(data)) return;
    const { type, value } = data;
    switch (type) {
      case 'vinbus.reading':
        return this.#reading(data.keys);
      case 'vinbus.complete':
        this.#document = 'complete';
        this.#mailbox.waiting(true).forEach((message) => this.#deliver(message));
        return;
      case 'vinbus.taken':
        if (Array.isArray(data.keys)) this.#confirm(this.#mailbox.take(data.keys));
        return;
      case 'WebPortal.onApplicationLoaded':
        return this.#documentIsLoaded();
      case 'WebPortal.onApplicationUnloaded':
        this.#line.send('{"type":"WebPortal.onApplicationUnloaded"}');
        return;
      case 'WebPortal.onSendNotificationRequest':
        this.#outgoing.send(value, undefined, data.requestId);
        return;
      case 'WebPortal.MQTT.publish':
        this.#outgoing.send(value?.payload, value?.subtopic);
        return;
      default:
        this.tell('error', { reason: 'unknown-type', message: whyUnknown(data) });
    }
  }

  #documentIsLoaded() {
    this.#line.send('{"type":"WebPortal.onApplicationLoaded"}');
    // The agent answers the first document; another one after it would not know.
    if (this.#isShown && !this.#documentLoaded) this.tell('WebPortal.onApplicationShow');
    this.#loaded = this.#documentLoaded = true;
  }

  /** A document begins; it has the messages with these keys, and gets the others. */
  #reading(keys) {
    this.#document = 'reading';
    this.#documentLoaded = false;
    const has = new Set(Array.isArray(keys) ? keys : []);
    const messages = this.#mailbox.waiting(false);
    this.#post({ type: 'vinbus.app', appId: this.#appId });
    this.#hand(messages.filter(([key]) => !has.has(key)));
    const waiting = new Set(messages.map(([key]) => key));
    this.#forgotten([...has].filter((key) => !waiting.has(key)));
  }
}

/** Why the portal does nothing with what an app posted. */
function whyUnknown(data) {
  const { type } = data;
  if (typeof type === 'string') return `the portal knows no type ${JSON.stringify(type.slice(0, 64))}`;
  const posted = Array.isArray(data) ? 'an array' : 'an object without a text as its type';
  return `the app posted ${posted}: the portal takes objects such as {"type":"WebPortal.onApplicationLoaded"}`;
}
