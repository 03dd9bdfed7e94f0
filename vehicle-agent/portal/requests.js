// The second version of the app's interface: `{id, type: GET | SET | SUBSCRIBE, api, params}`, answered
// by `{id, type: 'REPLY', api, status, statusText, data}` and, for a subscription, `{…, type: 'NOTIFY'}`.

const APIS = {
  'MQTT.publish': ['SET', 'SUBSCRIBE'],
  'MQTT.messageReceived': ['SUBSCRIBE'],
  'MQTT.status': ['GET', 'SUBSCRIBE'],
};
const TYPES = new Set(['GET', 'SET', 'SUBSCRIBE']);
const STATUS = { connected: 'connected', disconnected: 'disconnected' };

export class Requests {
  #outgoing;
  #post;
  #status = 'idle';
  /** API to the `id` of its subscription: one for each. */
  #subscriptions = new Map();

  /** `post(data)` goes to the app. */
  constructor(outgoing, post) {
    this.#outgoing = outgoing;
    this.#post = post;
  }

  /** Takes a request; `false` if it is none. */
  take(data) {
    const { id, type, api, params } = data;
    if (!TYPES.has(type) || typeof api !== 'string') return false;
    const reply = (status, statusText, body) => {
      this.#post({ id, type: 'REPLY', api, status, statusText, data: body });
    };
    if (!Object.hasOwn(APIS, api) || !APIS[api].includes(type)) {
      reply(400, `there is no ${type} of ${api.slice(0, 64)}`);
    } else if (type === 'SUBSCRIBE') {
      this.#subscriptions.set(api, id);
      reply(200, 'OK');
    } else if (api === 'MQTT.status') {
      reply(200, 'OK', this.#status);
    } else {
      const notify = (isDelivered) => {
        const status = isDelivered ? 'delivered' : 'notDelivered';
        this.#notify(api, { messageId, status });
      };
      const { message, subtopic } = params ?? {};
      const { id: messageId, refusal } = this.#outgoing.trySend(message, subtopic, undefined, notify);
      if (refusal) reply(400, refusal.message);
      else reply(200, 'OK', { messageId });
    }
    return true;
  }

  /** A message for the foreground, and the key by which the app's window knows it. */
  received(message, key) {
    this.#notify('MQTT.messageReceived', message, { key });
  }

  /** The vehicle's link to its broker. */
  link(state) {
    this.#status = STATUS[state] ?? 'idle';
    this.#notify('MQTT.status', this.#status);
  }

  #notify(api, data, more) {
    if (!this.#subscriptions.has(api)) return;
    const id = this.#subscriptions.get(api);
    this.#post({ id, type: 'NOTIFY', api, status: 200, statusText: 'OK', data, ...more });
  }
}
