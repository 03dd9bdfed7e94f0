// The vehicles, those that are online first.

import { List } from './list.js';
import * as server from './server.js';
import { byId, duration, element, number, setText } from './texts.js';

/** Vehicles that are kept; a fleet may have more. */
const KEPT = 10_000;

/** VINs that the form proposes. */
const PROPOSED = 200;

const ORDER = { online: 0, unknown: 1, offline: 2 };

export class Vehicles {
  constructor(chosen) {
    this.all = new Map();
    this.shown = [];
    this.total = 0;
    this.wanted = '';
    this.list = new List(byId('vehicle-list'), {
      label: 'Vehicles',
      rowHeight: 34,
      count: () => this.shown.length,
      item: (place) => this.shown[place],
      key: (vehicle) => vehicle.vin,
      make: () =>
        element('div', { class: 'vehicle' }, element('span', { class: 'dot' }), element('span', { class: 'vin mono' }), element('span', { class: 'state' })),
      fill,
      chosen,
      empty: () => (this.all.size > 0 ? 'No VIN contains this.' : 'No vehicle has been seen since the server started.'),
    });
    byId('vehicle-search').addEventListener('input', (event) => {
      this.wanted = event.target.value.trim().toLowerCase();
      this.changed();
    });
  }

  /** Reads all of them anew, as far as they are kept. */
  async load() {
    const found = new Map();
    let after = '';
    do {
      const page = await server.vehicles(after);
      for (const vehicle of page.vehicles) found.set(vehicle.vin, vehicle);
      after = page.next;
    } while (after && found.size < KEPT);
    // What happened meanwhile is newer than the pages.
    for (const [vin, vehicle] of this.all) {
      if (Date.parse(vehicle.since) > Date.parse(found.get(vin)?.since ?? 0)) found.set(vin, vehicle);
    }
    this.all = found;
    this.changed();
  }

  /** A vehicle has come or gone. */
  update(vehicle) {
    if (this.all.has(vehicle.vin) || this.all.size < KEPT) this.all.set(vehicle.vin, vehicle);
    this.isStale = true;
  }

  /** How many there are in all; also the moment to show how long each is what it is. */
  tick({ known }) {
    this.total = known;
    if (this.isStale) this.changed();
    else this.list.draw();
  }

  changed() {
    this.isStale = false;
    const wanted = this.wanted;
    this.shown = [...this.all.values()].filter(({ vin }) => vin.toLowerCase().includes(wanted));
    this.shown.sort((one, other) => ORDER[one.presence] - ORDER[other.presence] || (one.vin < other.vin ? -1 : 1));
    const more = this.total > this.all.size && this.all.size >= KEPT ? `, the first ${number(KEPT)} of ${number(this.total)}` : '';
    setText(byId('vehicle-count'), number(this.shown.length) + more);
    const options = this.shown.slice(0, PROPOSED).map(({ vin }) => element('option', { value: vin }));
    byId('vins').replaceChildren(...options);
    this.list.changed();
  }
}

function fill(row, vehicle) {
  const [, vin, state] = row.children;
  if (row.dataset.presence !== vehicle.presence) row.dataset.presence = vehicle.presence;
  setText(vin, vehicle.vin);
  // The largest unit is enough here.
  const since = duration(Date.now() - Date.parse(vehicle.since)).split(' ').slice(0, 2).join(' ');
  setText(state, `${vehicle.presence} ${since}`);
}
