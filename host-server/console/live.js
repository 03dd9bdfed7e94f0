// What happens, as the server tells it: two event streams, taken in a little at a time so that the
// page answers whoever uses it, however much comes.

import { lastMember, utf8 } from './envelope.js';
import * as server from './server.js';

/** Messages that are read at the beginning, each way. */
const PAST = 500;

/** Characters of a content that the list shows, as many as the stream tells. */
const EXCERPT = 200;

/** Events that wait to be taken in; the oldest give way, and are counted. */
const WAITING = 20_000;

/** Milliseconds that are spent at once on taking events in. */
const AT_ONCE = 8;

/** Where the server tells partners the steps of messages: the page has them from the activity. */
const STEPS = 'vinbus/receipt';

/** Pause before a stream that the server has ended is opened again, in milliseconds. */
const AGAIN = 2000;

/** A page that nobody sees takes events in this often. */
const HIDDEN = 500;

export class Live {
  /** `told` gets what happens: messages, steps, a vehicle, a fleet message, the status, the link's state, a notice. */
  constructor(told) {
    this.told = told;
    this.waiting = [];
    this.isDue = false;
    /** Pages of what happened before that are on their way: what is on them comes first. */
    this.pages = 0;
    this.cursor = undefined;
    this.takeIn = this.takeIn.bind(this);
  }

  start() {
    this.openActivity();
  }

  stop() {
    this.isStopped = true;
    this.activity?.close();
    this.uplink?.close();
  }

  openActivity() {
    const stream = new EventSource('/api/v1/activity/stream');
    this.activity = stream;
    let isFresh = true;
    stream.addEventListener('open', () => {
      isFresh = true;
    });
    stream.addEventListener('status', ({ data }) => {
      const status = JSON.parse(data);
      this.told.link(status.ready ? 'live' : 'trouble', status.reasons.join('; '));
      this.told.status(status);
      if (isFresh) this.catchUp(status.newest);
      isFresh = false;
    });
    stream.addEventListener('accepted', ({ data }) => this.wait('accepted', data));
    stream.addEventListener('step', ({ data }) => this.wait('step', data));
    stream.addEventListener('vehicle', ({ data }) => this.told.vehicle(JSON.parse(data)));
    stream.addEventListener('fleet', ({ data }) => this.told.fleet(JSON.parse(data)));
    stream.addEventListener('lost', () => {
      // The pages know.
      isFresh = true;
    });
    stream.addEventListener('error', () => this.broken(stream, () => this.openActivity()));
  }

  openUplink() {
    const stream = new EventSource(`/api/v1/messages/stream?content=brief&after=${this.cursor}`);
    this.uplink = stream;
    stream.addEventListener('message', ({ data, lastEventId }) => {
      this.cursor = lastEventId;
      this.wait('up', data);
    });
    stream.addEventListener('lost', ({ data, lastEventId }) => {
      this.cursor = lastEventId;
      // What was deleted before the page was opened is nothing that it has missed.
      if (server.position(lastEventId) <= this.begin) return;
      this.told.notice(`${JSON.parse(data).lost} messages from vehicles were deleted before they could be shown.`);
    });
    stream.addEventListener('error', () => this.broken(stream, () => this.openUplink()));
  }

  /** What happened before the stream began. A session ends with its server, and so the log stays the same. */
  async catchUp(newest) {
    if (this.cursor === undefined) {
      this.begin = server.position(newest);
      const past = this.begin - BigInt(PAST);
      this.cursor = String(past > 0n ? past : 0n);
      this.openUplink();
    }
    this.pages += 1;
    try {
      const page = await server.sent(PAST);
      this.told.messages(page.messages.map(down).reverse());
    } catch (error) {
      this.beforeIsUnknown(error);
    } finally {
      this.pages -= 1;
      this.due();
    }
    try {
      await Promise.all([this.told.vehicles(), this.told.fleets()]);
    } catch (error) {
      this.beforeIsUnknown(error);
    }
  }

  beforeIsUnknown(error) {
    this.told.notice(`What happened before could not be read: ${error.message}.`);
  }

  /** A stream that is lost comes back by itself; one that the server has refused does not. */
  async broken(stream, again) {
    if (this.isStopped) return;
    this.told.link('waiting', 'reconnecting');
    if (stream.readyState !== EventSource.CLOSED) return;
    try {
      await server.status();
    } catch (error) {
      if (error.status === 401) {
        this.stop();
        this.told.signedOut(error.message);
        return;
      }
    }
    setTimeout(() => !this.isStopped && again(), AGAIN);
  }

  wait(kind, data) {
    this.waiting.push([kind, data]);
    if (this.waiting.length > WAITING) {
      const count = this.waiting.length - WAITING / 2;
      this.waiting.splice(0, count);
      this.told.dropped(count);
    }
    this.due();
  }

  due() {
    if (this.isDue || this.pages > 0) return;
    this.isDue = true;
    if (document.hidden) setTimeout(this.takeIn, HIDDEN);
    else requestAnimationFrame(this.takeIn);
  }

  takeIn() {
    this.isDue = false;
    if (this.pages > 0) return;
    const end = performance.now() + AT_ONCE;
    const [messages, steps] = [[], []];
    let taken = 0;
    while (taken < this.waiting.length && performance.now() < end) {
      const [kind, data] = this.waiting[taken];
      taken += 1;
      if (kind === 'up') {
        const message = up(JSON.parse(data));
        if (message.subtopic !== STEPS) messages.push(message);
      } else if (kind === 'accepted') messages.push(down(JSON.parse(data)));
      else steps.push(JSON.parse(data));
    }
    this.waiting.splice(0, taken);
    if (messages.length > 0) this.told.messages(messages);
    if (steps.length > 0) this.told.steps(steps);
    if (this.waiting.length > 0) this.due();
  }
}

/** A message from a vehicle, as the list keeps it. */
function up({ cursor, vin, uid, subtopic, receivedAt, excerpt, contentBytes: bytes }) {
  const at = Date.parse(receivedAt);
  return { key: `up-${cursor}`, way: 'up', cursor, vin, uid, subtopic, at, excerpt, bytes };
}

/** A message for a vehicle, as the list keeps it. */
function down({ id, vin, uid, app, popup, bytes, excerpt, expiresAt, status, steps }) {
  const at = Date.parse(steps[0].at);
  return { key: id, way: 'down', id, vin, uid, app, popup, bytes, excerpt, expiresAt, status, steps, at };
}

/** A message for a vehicle, from its trace. */
export function traced(text) {
  const trace = JSON.parse(text);
  const envelope = lastMember(text, 'message');
  const { popup, popupText } = trace.message;
  const excerpt = popup ? popupText : lastMember(envelope, 'content').slice(0, EXCERPT);
  return down({ ...trace, popup, bytes: utf8(envelope), excerpt });
}
