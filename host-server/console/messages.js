// The messages both ways, newest first: the last 10,000, of which each is kept in brief.

import { List } from './list.js';
import { byId, bytes, clock, element, number, setText, stepName, tone } from './texts.js';

/** Messages that are kept; the oldest go first. */
const KEPT = 10_000;

/** Apps that are proposed. */
const APPS = 100;

export class Messages {
  constructor(chosen) {
    this.all = [];
    this.byKey = new Map();
    this.shown = this.all;
    this.held = undefined;
    this.dropped = 0;
    this.apps = new Set();
    this.filter = { vin: '', app: '', way: '' };
    this.list = new List(byId('message-list'), {
      label: 'Messages, newest first',
      rowHeight: 46,
      count: () => this.shown.length,
      item: (place) => this.shown[this.shown.length - 1 - place],
      key: (message) => message.key,
      make,
      fill,
      chosen,
      empty: () => (this.all.length > 0 ? 'No message passes the filter.' : 'No messages yet. They appear here as they come.'),
    });
    for (const [id, member] of [['filter-vin', 'vin'], ['filter-app', 'app'], ['filter-way', 'way']]) {
      byId(id).addEventListener('input', (event) => {
        this.filter[member] = event.target.value.trim().toLowerCase();
        this.refilter();
      });
    }
    byId('hold').addEventListener('click', () => this.hold(!this.held));
  }

  /** Takes messages in, each once; a message that is known already gets its newer steps. */
  add(messages) {
    const before = this.shown.length;
    const last = this.all.at(-1)?.at ?? 0;
    let isLate = false;
    let added = 0;
    for (const message of messages) {
      const known = this.byKey.get(message.key);
      if (known) {
        for (const step of message.steps ?? []) note(known, step);
        continue;
      }
      isLate ||= message.at < (this.all.at(-1)?.at ?? last);
      this.byKey.set(message.key, message);
      this.all.push(message);
      added += this.passes(message) ? 1 : 0;
      if (message.app) this.meet(message.app);
    }
    if (isLate) this.all.sort((one, other) => one.at - other.at);
    if (this.all.length > KEPT) {
      for (const gone of this.all.splice(0, this.all.length - KEPT)) this.byKey.delete(gone.key);
    }
    if (this.held) this.held.missed += added;
    else if (this.isFiltered()) this.shown = this.all.filter((message) => this.passes(message));
    this.count();
    // Those that were there at the beginning are nothing new.
    if (!this.held) this.list.changed(before > 0 ? added : 0);
  }

  /** Notes steps of messages; those of messages that are not kept any more are nobody's. */
  step({ id, step, at }) {
    const message = this.byKey.get(id);
    if (message) note(message, { step, at });
    return message;
  }

  /** Shows rows as their messages are now. */
  redraw() {
    this.list.draw();
  }

  isFiltered() {
    const { vin, app, way } = this.filter;
    return Boolean(vin || app || way);
  }

  passes(message) {
    const { vin, app, way } = this.filter;
    return (
      (!way || message.way === way) &&
      (!vin || message.vin.toLowerCase().includes(vin)) &&
      (!app || (message.app ?? '').toLowerCase().includes(app) || message.uid.toLowerCase().includes(app))
    );
  }

  refilter() {
    const from = this.held ? this.held.all : this.all;
    this.shown = this.isFiltered() ? from.filter((message) => this.passes(message)) : from;
    this.list.node.scrollTop = 0;
    this.count();
    this.list.changed();
  }

  /** Shows only messages of one vehicle. */
  only(vin) {
    byId('filter-vin').value = vin;
    this.filter.vin = vin.toLowerCase();
    this.refilter();
  }

  hold(on) {
    this.held = on ? { all: [...this.all], missed: 0 } : undefined;
    byId('hold').setAttribute('aria-pressed', on);
    this.refilter();
  }

  count() {
    const kept = this.held ? this.held.all.length : this.all.length;
    const of = this.isFiltered() ? `${number(this.shown.length)} of ${number(kept)}` : number(kept);
    const waiting = this.held?.missed ? `, ${number(this.held.missed)} more since` : '';
    const dropped = this.dropped ? `, ${number(this.dropped)} came too fast to be shown` : '';
    setText(byId('message-count'), kept > 0 || this.isFiltered() ? of + waiting + dropped : '');
  }

  meet(app) {
    if (this.apps.has(app) || this.apps.size >= APPS) return;
    this.apps.add(app);
    byId('apps').append(element('option', { value: app }));
  }
}

/** Notes a step once, in the order of time. */
export function note(message, { step, at }) {
  if (message.steps.some((known) => known.step === step)) return;
  message.steps.push({ step, at });
  message.steps.sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
  message.status = message.steps.at(-1).step;
}

function make() {
  return element(
    'div',
    { class: 'message' },
    element('span', { class: 'way' }),
    element('span', { class: 'head' }, element('span', { class: 'time' }), element('span', { class: 'vin mono' }), element('span', { class: 'app' })),
    element('span', { class: 'text' }),
    element('span', { class: 'status badge' }),
  );
}

function fill(row, message) {
  const [way, head, text, status] = row.children;
  const [time, vin, app] = head.children;
  const isUp = message.way === 'up';
  if (row.dataset.way !== message.way) row.dataset.way = message.way;
  setText(way, isUp ? '↑' : '↓');
  way.setAttribute('aria-label', isUp ? 'from' : 'to');
  setText(time, clock(message.at));
  setText(vin, message.vin);
  setText(app, message.app ?? message.uid);
  setText(text, message.popup ? `popup: ${message.excerpt}` : message.excerpt);
  setText(status, isUp ? bytes(message.bytes) : stepName(message.status));
  status.dataset.tone = isUp ? '' : tone(message.status);
}
