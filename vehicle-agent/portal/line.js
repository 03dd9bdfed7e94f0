// A line to the agent: a WebSocket that comes back (SPEC 8).

const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 5000;

/** Endings, as the closing frame names them, after which to connect again would be wrong. */
const FINAL = new Set([
  'closed', 'flood', 'frame-too-large', 'not-allowed', 'not-loaded', 'taken-over', 'unknown-app',
]);

export class Line {
  #socket;
  #isWelcome = false;
  #delay = DELAY_MS_MIN;
  #timer;
  #error;
  #role;
  #hello;
  #on;

  /**
   * `role` is in the address: a board has a place of its own for the screen. `hello()` is the value of
   * the first frame. `on.welcome(value)` comes after each connection,
   * `on.frame(frame)` for every other frame, `on.down()` when a connection is lost, and
   * `on.ended(reason, message)` when the agent wants no other.
   */
  constructor(role, hello, on) {
    this.#role = role;
    this.#hello = hello;
    this.#on = on;
    this.#connect();
  }

  /** Sends the text of a frame; `false` before the welcome of a connection, or if too much waits for it. */
  send(text) {
    const up = this.#isWelcome && this.#socket?.readyState === WebSocket.OPEN && this.#socket.bufferedAmount < 4_000_000;
    if (up) this.#socket.send(text);
    return up;
  }

  /** Ends the line without a word. */
  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #connect() {
    const socket = new WebSocket(`ws://${location.host}/portal?role=${this.#role}`);
    this.#socket = socket;
    this.#isWelcome = false;
    this.#error = undefined;
    socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', value: this.#hello() }));
    socket.onmessage = ({ data }) => this.#take(socket, JSON.parse(data));
    socket.onclose = ({ reason }) => this.#lost(socket, reason);
  }

  #take(socket, frame) {
    if (socket !== this.#socket) return;
    if (frame.type === 'welcome') {
      this.#isWelcome = true;
      this.#delay = DELAY_MS_MIN;
      this.#on.welcome(frame.value);
      return;
    }
    if (frame.type === 'error') this.#error = frame.value;
    this.#on.frame(frame);
  }

  #lost(socket, reason) {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    if (FINAL.has(reason)) {
      // The error before the closing frame is of the same reason, and says it in words.
      this.#on.ended(reason, this.#error?.message ?? reason);
      return;
    }
    this.#on.down();
    this.#timer = setTimeout(() => this.#connect(), this.#delay);
    this.#delay = Math.min(2 * this.#delay, DELAY_MS_MAX);
  }
}
