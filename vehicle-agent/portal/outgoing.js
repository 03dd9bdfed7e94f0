// What an app sends, on its way to the agent, and what becomes of it.

const NO_LINE = {
  reason: 'no-agent',
  message: 'the agent is away, or slower than the app; try again later',
};

export class Outgoing {
  /** Bytes of the longest frame; the agent tells. */
  bytesMax = 0;
  #line;
  #tell;
  /**
   * The agent tells a page that comes back what became of messages from before as well: so ids begin anywhere
   * among the integers that JavaScript knows, and are not those of another load.
   */
  #last = Math.floor(Math.random() * 2 ** 52);
  /** Messages without a fate: id to who wants to know, beside the app. */
  #waiting = new Map();

  /** `tell(type, value)` is an event for the app. */
  constructor(line, tell) {
    this.#line = line;
    this.#tell = tell;
  }

  /**
   * Sends content; the app is told what becomes of it. `request` is the requestId of the request that it
   * answers.
   */
  send(content, subtopic, request) {
    const { id, refusal } = this.trySend(content, subtopic, request);
    if (refusal) this.#tellNotDelivered(id, refusal);
  }

  /**
   * Sends content, if nothing is wrong with it: `refusal` says what is, which the app is not told then.
   * Otherwise `onFate(delivered)` hears, beside the app, what becomes of it. `id` is the message's.
   */
  trySend(content, subtopic, request, onFate) {
    const id = ++this.#last;
    const refusal = this.#refusal(id, content, subtopic, request);
    if (!refusal) this.#waiting.set(id, onFate);
    return { id, refusal };
  }

  /** Sends it, or tells why not. */
  #refusal(id, content, subtopic, request) {
    let value;
    try {
      value = JSON.stringify(content);
    } catch (error) {
      return { reason: 'bad-content', message: `the content is not JSON: ${error.message}` };
    }
    if (value === undefined) {
      return { reason: 'bad-content', message: 'the content is missing, or nothing that JSON knows' };
    }
    if (subtopic !== undefined && subtopic !== null && typeof subtopic !== 'string') {
      return { reason: 'bad-subtopic', message: 'the subtopic is a string' };
    }
    const answers = typeof request === 'string' ? `,"requestId":${JSON.stringify(request)}` : '';
    const below = typeof subtopic === 'string' ? `,"subtopic":${JSON.stringify(subtopic)}` : '';
    const type = 'WebPortal.onSendNotificationRequest';
    const frame = `{"type":"${type}","id":${id}${answers}${below},"value":${value}}`;
    const bytes = new TextEncoder().encode(frame).length;
    if (bytes > this.bytesMax) {
      const message = `the message has ${bytes} bytes with its frame, at most ${this.bytesMax} are allowed; send less, or in parts`;
      return { reason: 'too-large', message };
    }
    return this.#line.send(frame) ? undefined : NO_LINE;
  }

  /** The broker has the message. */
  delivered(id) {
    if (!this.#waiting.has(id)) return;
    this.#settle(id, true);
    this.#tell('WebPortal.MQTT.evt.messageDelivered', { messageId: id });
  }

  /** The message was refused or dropped; `false` if there is none with this id. */
  notDelivered(id, why) {
    if (!this.#waiting.has(id)) return false;
    this.#settle(id, false);
    this.#tellNotDelivered(id, why);
    return true;
  }

  #tellNotDelivered(id, why) {
    this.#tell('WebPortal.MQTT.evt.messageNotDelivered', { messageId: id, ...why });
  }

  /** Nobody will tell any more what becomes of what was sent. */
  lineIsDown() {
    const reason = 'unknown';
    const message = 'the portal has lost the agent; the message may have been sent';
    [...this.#waiting.keys()].forEach((id) => this.notDelivered(id, { reason, message }));
  }

  #settle(id, isDelivered) {
    const onFate = this.#waiting.get(id);
    this.#waiting.delete(id);
    onFate?.(isDelivered);
  }
}
