// The messages of one app that it has not taken, as the agent keeps them.
//
// The agent numbers them and keeps each until its number is confirmed; here is a copy of what it
// keeps, because an app must get the list at once. The agent alone decides what is kept: nothing that
// waits is dropped here before it says so. Some are here alone: messages for the foreground, which are
// the app's already even if the agent has no room for them any more, and those of an agent that has
// forgotten them. What the app has taken is noted in its own window (`webportal.js`), which tells it
// again when it is handed a message a second time.

/** Numbers remembered as taken: more than the agent ever keeps. */
const TAKEN_MAX = 256;

/** Messages that are here alone and wait for an app which does not take them. */
const ALONE_MAX = 64;

export class Mailbox {
  #life = '';
  #taken = new Set();
  /** Key to `{ message, current }`, oldest first. A key is `life/number`, opaque to the app. */
  #messages = new Map();

  /** The agent gives numbers of this life. An agent that forgot ours forgot its messages as well. */
  live(life) {
    if (life === this.#life) return;
    this.#life = life;
    this.#taken.clear();
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
    const gone = this.waiting(false).map(([key]) => key).filter((key) => {
      const number = this.#number(key);
      return number !== undefined && isGone(number);
    });
    gone.forEach((key) => this.#messages.delete(key));
    return gone;
  }

  /** Drops the oldest messages that are here alone, if there are too many; returns their keys. */
  dropOverflow() {
    const isAlone = ([key, { current }]) => current || this.#number(key) === undefined;
    const alone = [...this.#messages].filter(isAlone).map(([key]) => key);
    const gone = alone.slice(0, -ALONE_MAX);
    gone.forEach((key) => this.#messages.delete(key));
    return gone;
  }

  /** The app has taken these; returns the numbers to confirm. */
  take(keys) {
    const known = keys.filter((key) => this.#messages.delete(key));
    const numbers = known.map((key) => this.#number(key)).filter((number) => number !== undefined);
    numbers.forEach((number) => this.#taken.add(number));
    while (this.#taken.size > TAKEN_MAX) this.#taken.delete(this.#taken.values().next().value);
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
}
