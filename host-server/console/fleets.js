// Fleet messages: one message for many vehicles each, newest first.

import { List } from './list.js';
import { bar, byProgress, stateTone } from './progress.js';
import * as server from './server.js';
import { byId, clock, element, number, setText, stepName } from './texts.js';

/** Fleet messages that are shown: a page of the server's. */
const KEPT = 100;

export class Fleets {
  constructor(chosen) {
    this.byKey = new Map();
    this.shown = [];
    this.list = new List(byId('fleet-list'), {
      label: 'Fleet messages, newest first',
      rowHeight: 58,
      count: () => this.shown.length,
      item: (place) => this.shown[place],
      key: (fleet) => fleet.id,
      make,
      fill,
      chosen,
      empty: () => 'No fleet messages yet. Send one to a list of vehicles, or to all that fit.',
    });
  }

  /** Reads the newest of them anew. */
  async load() {
    const { messages } = await server.fleets(KEPT);
    this.byKey = new Map(messages.map((fleet) => [fleet.id, fleet]));
    this.changed();
  }

  /** One is new, or further than it was. */
  update(fleet) {
    const isNew = !this.byKey.has(fleet.id);
    this.byKey.set(fleet.id, fleet);
    this.changed(isNew ? 1 : 0);
  }

  changed(added = 0) {
    const newest = [...this.byKey.values()].sort((one, other) => Date.parse(other.acceptedAt) - Date.parse(one.acceptedAt));
    for (const gone of newest.splice(KEPT)) this.byKey.delete(gone.id);
    this.shown = newest;
    const open = newest.filter(({ state }) => state === 'running' || state === 'paused').length;
    setText(byId('fleet-count'), open > 0 ? `${number(open)} under way` : newest.length > 0 ? number(newest.length) : '');
    this.list.changed(added);
  }
}

function make() {
  return element(
    'div',
    { class: 'fleet' },
    element('span', { class: 'head' }, element('span', { class: 'time' }), element('span', { class: 'app' }), element('span', { class: 'to' })),
    element('span', { class: 'status badge' }),
    element('span', { class: 'text' }),
    element('span', { class: 'bar', 'aria-hidden': 'true' }),
  );
}

function fill(row, fleet) {
  const [head, status, text, drawn] = row.children;
  const [time, app, to] = head.children;
  setText(time, moment(new Date(fleet.acceptedAt)));
  setText(app, fleet.app);
  setText(to, `to ${number(fleet.vehicles)} ${fleet.vehicles === 1 ? 'vehicle' : 'vehicles'}`);
  setText(status, fleet.state);
  status.dataset.tone = stateTone(fleet.state);
  const counts = byProgress(fleet.counts);
  setText(text, counts.map(([step, count]) => `${number(count)} ${stepName(step)}`).join(' · '));
  const key = JSON.stringify(counts);
  if (drawn.dataset.key === key) return;
  drawn.dataset.key = key;
  drawn.replaceChildren(...bar(counts));
}

/** The time of today, the date of any other day. */
function moment(at) {
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? clock(at.getTime()).slice(0, 8) : at.toLocaleDateString();
}
