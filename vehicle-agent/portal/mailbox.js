// The messages of one app that it has not taken, as the agent keeps them.
//
// The agent numbers them and keeps each until its number is confirmed; here is a copy of what it
// keeps, because an app must get the list at once, and the note of what the app has taken, which
// outlives a reload of this page. The agent alone decides what is kept: nothing is dropped here
// before it says so.

/** Numbers remembered as taken: more than the agent ever keeps. */
const TAKEN_MAX = 256;

export class Mailbox {
  #store;
  #life = '';
  #taken = new Set();
  /** Key to `{ message, current }`, oldest first. A key is `life/number`, opaque to the app. */
  #messages = new Map();

  constructor(appId) {
    this.#store = `vinbus.taken.${appId}`;
    try {
      const { life, numbers } = JSON.parse(localStorage.getItem(this.#store) ?? '{}');
      this.#life = life ?? '';
      this.#taken = new Set(numbers);
    } catch {
      // Somebody else wrote it; then nothing is known.
    }
  }

  /** The agent gives numbers of this life. An agent that forgot ours forgot its messages as well. */
  live(life) {
    if (life === this.#life) return;
    this.#life = life;
    this.#taken.clear();
    this.#note();
  }

  /**
   * Takes in a message; returns its key, or `undefined` if it is here or was taken already.
   * `current` is one for the foreground.
   */
  put(number, message, current) {
    const key = `${this.#life}/${number}`;
    if (this.#taken.has(number) || this.#messages.has(key)) return undefined;
    this.#messages.set(key, { message, current });
    return key;
  }

  /** The agent keeps nothing older than this number; returns the keys of what is gone. */
  forgetBefore(oldest) {
    return this.#forget((number) => number < oldest);
  }

  /** The agent keeps these numbers and no others; returns the keys of what is gone. */
  forgetOthers(numbers) {
    const kept = new Set(numbers);
    return this.#forget((number) => !kept.has(number));
  }

  #forget(isGone) {
    const gone = [...this.#messages.keys()].filter((key) => {
      const number = this.#number(key);
      return number !== undefined && isGone(number);
    });
    gone.forEach((key) => this.#messages.delete(key));
    return gone;
  }

  /** The app has taken these; returns the numbers to confirm. */
  take(keys) {
    const known = keys.filter((key) => this.#messages.delete(key));
    const numbers = known.map((key) => this.#number(key)).filter((number) => number !== undefined);
    numbers.forEach((number) => this.#taken.add(number));
    while (this.#taken.size > TAKEN_MAX) this.#taken.delete(this.#taken.values().next().value);
    if (numbers.length > 0) this.#note();
    return numbers;
  }

  /** The numbers that were taken, of which the agent may not know. */
  get taken() {
    return [...this.#taken];
  }

  /** `[key, message]` of what waits, oldest first: for the foreground, or not. */
  waiting(current) {
    const those = [...this.#messages].filter(([, entry]) => entry.current === current);
    return those.map(([key, { message }]) => [key, message]);
  }

  #number(key) {
    const [life, number] = key.split('/');
    return life === this.#life ? Number(number) : undefined;
  }

  #note() {
    const note = { life: this.#life, numbers: this.taken };
    localStorage.setItem(this.#store, JSON.stringify(note));
  }
}
