// How far fleet messages are: counts of vehicles by the last step of each one's message.

import { ORDER, element, tone } from './texts.js';

// That it is finished says nothing of what became of it.
const STATES = { running: 'live', paused: 'wait' };

/** The tone of a state. */
export const stateTone = (state) => STATES[state] ?? '';

/** The tone of a step of which vehicles are counted; those that are not begun are steps here as well. */
export const countTone = (step) => (step === 'waiting' ? '' : tone(step));

/** Counts from what waits to what has met its end, as pairs of step and number. */
export function byProgress(counts) {
  const place = (step) => (step === 'waiting' ? -1 : ORDER.indexOf(step));
  return Object.entries(counts).sort(([one], [other]) => place(one) - place(other));
}

/** The parts of a bar, the best first. */
export function bar(counts) {
  const tones = ['good', 'wait', 'bad', ''];
  const sums = tones.map((of) => counts.reduce((sum, [step, count]) => sum + (countTone(step) === of ? count : 0), 0));
  return tones.flatMap((of, index) => {
    if (sums[index] === 0) return [];
    const part = element('i', { 'data-tone': of });
    part.style.flexGrow = sums[index];
    return [part];
  });
}
