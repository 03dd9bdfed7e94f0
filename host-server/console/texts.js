// Elements, and numbers and times as people read them. Whatever is shown is text, never markup.

/** Makes an element; members of `attributes` that are undefined or false are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (attribute.startsWith('on')) made.addEventListener(attribute.slice(2), value);
    else made.setAttribute(attribute, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Sets a text if it is another one: nothing is laid out anew for what has not changed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

/** 12345 as `12,345`, 1.234 as `1.2`. */
export const number = (value) => (Math.abs(value) < 100 ? tenths : whole).format(value);

/** Bytes as people read them. */
export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const [unit, size] = count < 1024 ** 2 ? ['KiB', 1024] : count < 1024 ** 3 ? ['MiB', 1024 ** 2] : ['GiB', 1024 ** 3];
  return `${tenths.format(count / size)} ${unit}`;
}

/** The time of day with milliseconds, in the time zone of whoever looks. */
export function clock(milliseconds) {
  const at = new Date(milliseconds);
  const two = (value) => String(value).padStart(2, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`;
}

/** How long it took: `12 ms`, `3.4 s`, `2 min`. */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${tenths.format(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

// What the steps of a message mean, as far as this page knows them; the server may know more.
const STEPS = {
  accepted: ['wait', 'It is on the server’s disk.'],
  held: ['wait', 'The vehicle is offline, or does not listen to this partner.'],
  sent: ['good', 'The broker has it.'],
  rejected: ['bad', 'The broker can never carry it; the server’s log says why.'],
  expired: ['bad', 'Its time was over.'],
  at_agent: ['good', 'The vehicle has it.'],
  held_background: ['wait', 'It waits for its app, which is in the background.'],
  held_privacy: ['wait', 'It waits, as privacy is asked for.'],
  handed: ['good', 'The app was given it, and is to confirm it.'],
  taken: ['good', 'The app was given it, in a way in which it confirms nothing.'],
  confirmed: ['good', 'The app has confirmed that it has it.'],
  part_stored: ['wait', 'The vehicle has a part of it, and more follow.'],
  part_missing: ['wait', 'The vehicle had lost what was stored: it begins again.'],
  known: ['', 'The vehicle had it before, and does not know any more what became of it: the app may have it.'],
  evicted: ['bad', 'Newer messages took its place before its app took it. One that confirms all that it gets may have it.'],
  unknown_app: ['bad', 'The app is not installed in the vehicle.'],
  too_large: ['bad', 'The vehicle cannot take a message of this size.'],
  bad_content: ['bad', 'The vehicle could not read it.'],
  denied: ['bad', 'The vehicle does not let this partner send to the app.'],
  refused_by_app: ['bad', 'The app refused it.'],
  given_up: ['bad', 'The vehicle never said what became of it.'],
  peer_restarted: ['bad', 'The vehicle, or the server, lost what it knew of it: the app may have it or not.'],
  sent_again: ['wait', 'The vehicle, or the server, lost what it knew of it: as it may be repeated, it is sent once more.'],
  superseded: ['', 'A newer message of its key took its place before it was sent.'],
  unsupported: ['bad', 'The vehicle answers no requests.'],
  answered: ['good', 'The app has answered the request.'],
  not_there: ['bad', 'The app was not in the foreground, and the request did not wait for it.'],
  cancelled: ['', 'The request was cancelled.'],
  busy: ['bad', 'The vehicle has as many open requests as it may.'],
};

/** The steps, about in the order in which they come. */
export const ORDER = Object.keys(STEPS);

/** The tone of a step: good, wait, bad, or none. */
export const tone = (step) => STEPS[step]?.[0] ?? '';

/** A step as people read it. */
export const stepName = (step) => step.replaceAll('_', ' ');

/** What a step means; empty if this page does not know. */
export const stepMeaning = (step) => STEPS[step]?.[1] ?? '';
