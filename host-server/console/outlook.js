// Why nothing happens: what a step of a message means, and what the next one waits for, in sentences
// for who asks. What the server alone knows, such as steps to come, is not guessed.

import { stepMeaning } from './texts.js';

/** What a step means for this message; empty if this page does not know. */
export function meaning(step, { steps, request }) {
  if (step === 'expired') return `Its time was over: ${howFar(steps, request)}.`;
  return (request && LOST_REQUEST[step]) || stepMeaning(step);
}

/** How far a message came whose time is over. */
function howFar(all, request) {
  const again = all.findLastIndex(({ step }) => step === 'sent_again');
  const steps = all.slice(again + 1);
  const cameTo = (...names) => steps.some(({ step }) => names.includes(step));
  if (cameTo('handed')) return `the app was given it, and did not ${request ? 'answer' : 'confirm it'}`;
  if (cameTo('held_background', 'held_privacy')) return 'it waited in the vehicle, and its app did not take it';
  if (cameTo('at_agent')) return 'the vehicle had it, and its app did not take it';
  if (cameTo('part_stored')) return 'the vehicle had a part of it, and not all';
  if (cameTo('sent')) return 'it was sent, and the vehicle never said that it has it';
  if (again >= 0) return 'the vehicle had lost it with its memory, and was not reached again';
  return 'it was never sent, as the vehicle was not reached, or its turn did not come';
}

const HAS_BEGUN = 'the app may have begun with it or not, and it is not sent again.';

const LOST_REQUEST = {
  known: `The vehicle started again while it had the request: ${HAS_BEGUN}`,
  peer_restarted: `The vehicle started again while it had the request: ${HAS_BEGUN}`,
  given_up: `The vehicle never said what became of the request: ${HAS_BEGUN}`,
};

/** What a message waits for; empty where it has met its end. `vehicle` is what is known of its vehicle. */
export function outlook(message, vehicle) {
  const { status, popup, uid, expiresAt } = message;
  const until = new Date(expiresAt).toLocaleString();
  if (status === 'held') return `${whyHeld(vehicle, uid)} It is sent when the vehicle can hear it, until ${until}.`;
  if (status === 'accepted') return 'It waits for its turn: messages to a vehicle go one after the other, as fast as its link carries them.';
  if (status === 'sent') return whatFollowsSent(message);
  return AWAITED[status] ?? '';
}

function whyHeld(vehicle, uid) {
  if (!vehicle) return 'Nothing was heard of this vehicle since the server started: is the VIN right?';
  const since = new Date(vehicle.since).toLocaleString();
  if (vehicle.presence === 'offline') return `The vehicle is offline since ${since}.`;
  return `The vehicle is ${vehicle.presence} since ${since}, and does not listen to partner ${uid}: its agent names the partner of each app (--app IDAPP=UID).`;
}

function whatFollowsSent({ receipts, withoutReceipts, popup }) {
  if (popup) return 'Nothing more is told of a popup: it carries no receipts. What the driver answers is told to the app.';
  if (receipts === 'no') return 'Nothing more is told: no receipts were asked for. To be told what becomes of it in the vehicle, send it with receipts.';
  if (withoutReceipts) return 'It went without receipts, as the vehicle offers none: nobody tells what becomes of it.';
  // What was fetched before it was sent does not say whether it went without.
  if (receipts) return 'It is repeated until the vehicle says that it has it. A vehicle that does not know receipts says nothing, and got it once.';
  return '';
}

const AWAITED = {
  at_agent: 'Its app has yet to read it from its connection.',
  held_background: 'It waits until the app is in the foreground, or takes its messages. Ten newer ones for the app push it out.',
  held_privacy: 'It waits until privacy is over. Ten newer ones for the app push it out.',
  handed: 'The app has yet to confirm it, or to refuse it.',
  part_stored: 'The rest follows, part by part, as fast as the vehicle stores them.',
  part_missing: 'It is sent again from its beginning.',
  sent_again: 'It is sent once more when its turn comes.',
};
