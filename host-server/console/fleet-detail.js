// One fleet message in full: how far it is, what became of it in each vehicle, and the hand on it.

import { content, mono, pairs } from './detail.js';
import { lastMember } from './envelope.js';
import { List } from './list.js';
import { bar, byProgress, countTone, stateTone } from './progress.js';
import * as server from './server.js';
import { clock, element, number, setText, stepName } from './texts.js';

/** Vehicles that are shown, a page of the server's each thousand. */
const KEPT = 5_000;

/** Milliseconds between two looks at what became of it. */
const AGAIN = 1_000;

const OUTLOOK = {
  running: 'Vehicles that wait are away, or their turn has not come: the message is put on its way to each when it can hear it.',
  paused: 'Nothing more is put on its way until you go on with it. What is on its way is not held.',
  finished: 'All of it is on its way, or its time is over. What vehicles tell still counts.',
  cancelled: 'What was not sent yet is not sent any more.',
};

export class FleetDetail {
  /** `detail` is where it is shown; `openMessage` shows the message for one vehicle, `changed` is told of news. */
  constructor(detail, { openMessage, changed, sendAgain }) {
    Object.assign(this, { detail, openMessage, changed, sendAgain });
    this.of = undefined;
  }

  get isShown() {
    return this.of !== undefined && this.detail.shown === this.of.shown;
  }

  async open(fleet) {
    const parts = {
      state: element('span', { class: 'badge' }),
      bar: element('div', { class: 'bar', 'aria-hidden': 'true' }),
      counts: element('div', { class: 'counts', role: 'group', 'aria-label': 'How many vehicles are how far' }),
      outlook: element('p', { class: 'count' }),
      actions: element('p', { class: 'actions' }),
      fault: element('p', { role: 'alert' }),
      title: element('h3', {}),
      list: element('div', { class: 'list' }),
      hint: element('p', { class: 'count', role: 'status' }),
    };
    const about = pairs([
      ['State', parts.state],
      ['App', fleet.app],
      ['Partner', fleet.uid],
      ['Accepted', clock(Date.parse(fleet.acceptedAt))],
      ['Until', new Date(fleet.expiresAt).toLocaleString()],
      ['Receipts', fleet.receipts],
      ['At most', `${number(fleet.rate)} a second`],
      ['Id', mono(fleet.id)],
    ]);
    const { state: _, title, list, hint, ...above } = parts;
    const shown = this.detail.show(fleet, 'Fleet message', about, ...Object.values(above), title, list, hint);
    this.of = { shown, fleet, parts, vehicles: [], total: 0, step: undefined };
    this.list = new List(list, {
      label: 'Vehicles of the fleet message',
      rowHeight: 30,
      count: () => this.of.vehicles.length,
      item: (place) => this.of.vehicles[place],
      key: (vehicle) => vehicle.vin,
      make: () => element('div', { class: 'target' }, element('span', { class: 'vin mono' }), element('span', { class: 'badge' })),
      fill,
      chosen: (vehicle) => this.choose(vehicle),
      empty: () => (this.of.all ? 'No vehicle is so far.' : 'Reading'),
    });
    this.progress(fleet);
    await this.read();
    await this.detail.fetch(shown, async () => {
      const text = await server.fleet(fleet.id);
      const envelope = lastMember(text, 'message');
      const json = lastMember(envelope, 'content');
      const { popupText } = JSON.parse(envelope);
      const again = element('button', { onclick: () => this.sendAgain(fleet, envelope) }, 'Send again');
      return [...(popupText ? [element('blockquote', {}, popupText)] : []), ...(json ? content(json) : []), element('p', { class: 'actions' }, again)];
    });
  }

  /** A fleet message is further than it was. */
  told(fleet) {
    if (!this.isShown || this.of.fleet.id !== fleet.id) return;
    this.progress(fleet);
    this.stale();
  }

  /** A message came to a step, which may be one of these. */
  stepped({ id }) {
    if (this.isShown && this.of.ids?.has(id)) this.stale();
  }

  progress(fleet) {
    const { parts } = this.of;
    Object.assign(this.of, { fleet });
    setText(parts.state, fleet.state);
    parts.state.dataset.tone = stateTone(fleet.state);
    const counts = byProgress(fleet.counts);
    parts.bar.replaceChildren(...bar(counts));
    this.buttons(counts);
    setText(parts.outlook, OUTLOOK[fleet.state] ?? '');
    this.actions();
  }

  /** A button for each step: which vehicles are so far. */
  buttons(counts) {
    const { parts } = this.of;
    const known = new Map([...parts.counts.children].map((button) => [button.dataset.step, button]));
    const wanted = counts.map(([step, count]) => {
      const button = known.get(step) ?? element('button', { 'data-step': step, class: 'badge', onclick: () => this.only(step) });
      button.dataset.tone = countTone(step);
      button.setAttribute('aria-pressed', this.of.step === step);
      setText(button, `${number(count)} ${stepName(step)}`);
      return button;
    });
    // A button that is there already keeps the focus.
    if (wanted.length !== known.size || wanted.some((button, index) => parts.counts.children[index] !== button)) {
      parts.counts.replaceChildren(...wanted);
    }
  }

  /** What can be done with it now. */
  actions() {
    const { parts, fleet } = this.of;
    if (parts.actions.dataset.state === fleet.state) return;
    parts.actions.dataset.state = fleet.state;
    const isOpen = fleet.state === 'running' || fleet.state === 'paused';
    const turn = fleet.state === 'running' ? ['pause', 'Pause'] : ['resume', 'Go on'];
    const cancel = element('button', { 'data-verb': 'cancel' }, 'Cancel');
    // It is for good, so it takes a second press.
    cancel.addEventListener('click', () => {
      if (cancel.dataset.sure !== undefined) return this.change('cancel');
      cancel.dataset.sure = '';
      return setText(cancel, 'Cancel for good');
    });
    cancel.addEventListener('blur', () => {
      delete cancel.dataset.sure;
      setText(cancel, 'Cancel');
    });
    const pause = element('button', { 'data-verb': turn[0], onclick: () => this.change(turn[0]) }, turn[1]);
    parts.actions.replaceChildren(...(isOpen ? [pause, cancel] : []));
    parts.actions.hidden = !isOpen;
  }

  async change(verb) {
    const { of } = this;
    setText(of.parts.fault, '');
    try {
      const fleet = await server.changeFleet(of.fleet.id, verb);
      this.changed(fleet);
      this.told(fleet);
    } catch (error) {
      setText(of.parts.fault, error.message);
    }
  }

  /** Shows only vehicles whose messages are so far; once more, all again. */
  only(step) {
    this.of.step = this.of.step === step ? undefined : step;
    this.buttons(byProgress(this.of.fleet.counts));
    this.sift();
  }

  choose({ vin, step, messageId }) {
    const { fleet, parts } = this.of;
    if (messageId) {
      this.openMessage(messageId, fleet.id);
      return;
    }
    const why = { waiting: 'it is put on its way when the vehicle can hear it', cancelled: 'the fleet message was cancelled before', expired: 'the vehicle did not come in time' };
    setText(parts.hint, `${vin} was sent nothing: ${why[step] ?? stepName(step)}.`);
  }

  /** Looks again before long, however much is told. */
  stale() {
    const { of } = this;
    if (of.isDue) return;
    of.isDue = true;
    setTimeout(async () => {
      if (this.of === of && this.isShown) await this.read();
      of.isDue = false;
    }, AGAIN);
  }

  /** Reads how far it is, in all and in each vehicle. */
  async read() {
    const { of } = this;
    const { id } = of.fleet;
    try {
      const fleet = JSON.parse(await server.fleet(id));
      const found = [];
      let after = '';
      do {
        const page = await server.fleetVehicles(id, after);
        found.push(...page.vehicles);
        after = page.next;
      } while (after && found.length < KEPT);
      if (this.of !== of || !this.isShown) return;
      Object.assign(of, { all: found, ids: new Set(found.map(({ messageId }) => messageId)) });
      this.changed(fleet);
      this.progress(fleet);
      this.sift();
    } catch (error) {
      setText(of.parts.fault, error.message);
    }
  }

  sift() {
    const { of } = this;
    const all = of.all ?? [];
    of.vehicles = of.step === undefined ? all : all.filter(({ step }) => step === of.step);
    const more = of.fleet.vehicles > all.length ? `, the first ${number(all.length)} by VIN are here` : '';
    setText(of.parts.title, `Vehicles: ${number(of.vehicles.length)} of ${number(of.fleet.vehicles)}${more}`);
    this.list.changed();
  }
}

function fill(row, { vin, step }) {
  const [shown, badge] = row.children;
  setText(shown, vin);
  setText(badge, stepName(step));
  badge.dataset.tone = countTone(step);
}
