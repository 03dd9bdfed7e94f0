// The server's health and rates: tiles with charts, and all figures in a table.

import { Tile } from './charts.js';
import { byId, bytes, duration, element, number, setText, tone } from './texts.js';

// What is lost, refused or given up, by the names of the figures. Each tells of messages that did not
// get where they were meant to; those for vehicles are counted by their steps.
const LOST = [
  'vinbus_uplink_refused_total',
  'vinbus_uplink_failed_total',
  'vinbus_webhook_lost_total',
  'vinbus_store_failed_total',
  'vinbus_broker_oversize_total',
  'vinbus_broker_publishes_denied_total',
  'vinbus_broker_envelopes_refused_total',
  'vinbus_broker_downlinks_unheard_total',
  'vinbus_broker_unacknowledged_total',
  'vinbus_broker_consumer_drops_total',
  'vinbus_broker_consumer_drops_shared_total',
  'vinbus_broker_fan_out_dropped_total',
  'vinbus_broker_subscriber_losses_total',
  'vinbus_broker_bus_full_total',
];

/** Figures of so many seconds are kept, for what changed in the last minute. */
const KEPT = 61;

export class Health {
  constructor() {
    const tiles = byId('tiles');
    this.online = new Tile(tiles, 'Vehicles online', { tone: 'good' });
    this.up = new Tile(tiles, 'From vehicles', { tone: 'up' });
    this.down = new Tile(tiles, 'To vehicles');
    this.waiting = new Tile(tiles, 'Waiting to be sent', { tone: 'wait' });
    this.lost = new Tile(tiles, 'Lost or refused', { tone: 'wait' });
    this.disk = new Tile(tiles, 'Time to disk');
    this.past = [];
    byId('show-figures').addEventListener('click', () => {
      byId('figures').showModal();
      this.table();
    });
    byId('figures-close').addEventListener('click', () => byId('figures').close());
    for (const id of ['figures-search', 'figures-zero']) byId(id).addEventListener('input', () => this.table());
  }

  /** One more status of the server. */
  show(status) {
    const before = this.past.at(-1);
    // A server that has started again counts from 0.
    if (before && before.startedAt !== status.startedAt) this.past = [];
    this.past.push(status);
    if (this.past.length > KEPT) this.past.shift();
    const since = this.past.at(-2) ?? status;
    const seconds = Math.max(0.001, (Date.parse(status.at) - Date.parse(since.at)) / 1000);
    const grown = (name) => figure(status, name) - figure(since, name);
    const rate = (name) => grown(name) / seconds;

    const { online, known } = status.vehicles;
    this.online.push(online, number(online), `of ${number(known)} seen`);
    const up = rate('vinbus_uplink_stored_total');
    this.up.push(up, number(up), 'messages/s');
    const down = rate('vinbus_downlink_total{step="accepted"}');
    this.down.push(down, number(down), 'messages/s');
    this.waiting.push(status.unsent, number(status.unsent), status.unsent === 1 ? 'message' : 'messages');
    const lost = LOST.reduce((sum, name) => sum + figure(status, name), 0) + givenUp(status);
    this.lost.push(lost, number(lost), 'since the start', lost > 0);
    const commits = grown('vinbus_store_commit_seconds_count');
    const took = commits > 0 ? (grown('vinbus_store_commit_seconds_sum') / commits) * 1000 : 0;
    this.disk.push(took, commits > 0 ? number(took) : '–', `ms · ${bytes(figure(status, 'vinbus_store_bytes'))} stored`);

    const age = Date.parse(status.at) - Date.parse(status.startedAt);
    setText(byId('about'), `version ${status.version}, up ${duration(age)}`);
    if (byId('figures').open) this.table();
  }

  /** All figures, and what they gained in the last minute. */
  table() {
    const [now, then] = [this.past.at(-1), this.past[0]];
    if (!now) return;
    const wanted = byId('figures-search').value.trim().toLowerCase();
    const withZero = byId('figures-zero').checked;
    const rows = Object.entries(now.figures)
      .filter(([name, value]) => (withZero || value !== 0) && name.toLowerCase().includes(wanted))
      .map(([name, value]) => {
        const change = value - (then.figures[name] ?? 0);
        const sign = change > 0 ? '+' : '';
        return element('tr', {}, element('td', {}, name), element('td', {}, exact(value)), element('td', {}, change === 0 ? '' : sign + exact(change)));
      });
    byId('figures-rows').replaceChildren(...rows);
    setText(byId('figures-at'), `${rows.length} of ${Object.keys(now.figures).length}`);
  }
}

/** Messages for vehicles that came to a bad end. */
function givenUp({ figures }) {
  let sum = 0;
  for (const [name, value] of Object.entries(figures)) {
    const step = /^vinbus_downlink_total\{step="(.*)"\}$/.exec(name)?.[1];
    if (step && tone(step) === 'bad') sum += value;
  }
  return sum;
}

const exact = (value) => value.toLocaleString('en', { maximumFractionDigits: 3 });

/** A figure; of a name without labels, the sum over all of its labels. */
function figure(status, name) {
  const own = status.figures[name];
  if (own !== undefined || name.includes('{')) return own ?? 0;
  let sum = 0;
  for (const [other, value] of Object.entries(status.figures)) {
    if (other.startsWith(`${name}{`)) sum += value;
  }
  return sum;
}
