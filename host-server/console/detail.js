// One message or one vehicle, in full: what became of it, and what it holds.

import { head, indented, lastMember } from './envelope.js';
import * as server from './server.js';
import { note } from './messages.js';
import { meaning, outlook } from './outlook.js';
import { byId, bytes, clock, duration, element, number, setText, stepName, tone } from './texts.js';

export class Detail {
  /** `vehicle` tells what is known of one; `openFleet` shows the fleet message of an id. */
  constructor({ closed, sendAgain, vehicle, openFleet }) {
    Object.assign(this, { closed, sendAgain, known: vehicle, openFleet });
    this.node = byId('detail');
    this.shown = undefined;
    this.node.addEventListener('keydown', (event) => event.key === 'Escape' && this.close());
  }

  close() {
    if (!this.shown) return;
    const { item } = this.shown;
    this.shown = undefined;
    this.node.hidden = true;
    this.closed(item);
  }

  /** Shows the parts of an item below a title; what was asked for another item is not shown. */
  show(item, title, ...parts) {
    this.shown = { item, content: element('div', {}) };
    const close = element('button', { 'aria-label': 'Close', onclick: () => this.close() }, '✕');
    const heading = element('h2', { id: 'detail-title' }, title, close);
    this.node.replaceChildren(heading, element('div', { class: 'body' }, ...parts, this.shown.content));
    this.node.hidden = false;
    return this.shown;
  }

  async message(message) {
    const isUp = message.way === 'up';
    const facts = [
      ['Vehicle', mono(message.vin)],
      ['Partner', message.uid],
      ...(isUp ? [] : [['App', message.app]]),
      ...(message.subtopic ? [['Subtopic', mono(message.subtopic)]] : []),
      ['Size', `${number(message.bytes)} bytes`],
      [isUp ? 'Cursor' : 'Id', mono(isUp ? message.cursor : message.id)],
    ];
    const title = isUp ? 'From a vehicle' : message.popup ? 'Popup for the driver' : 'For an app';
    if (isUp) {
      const shown = this.show(message, title, pairs([...facts, ['Received', clock(message.at)]]));
      await this.fetch(shown, async () => {
        const page = await server.received(message.cursor);
        const text = page.slice(page.indexOf('[') + 1, page.lastIndexOf(',"next":') - 1);
        if (!text || head(text).cursor !== message.cursor) return [gone()];
        return content(lastMember(text, 'content'));
      });
      return;
    }
    this.chain = element('ol', { class: 'chain', 'aria-label': 'What became of it' });
    this.outlook = element('p', { class: 'outlook', 'aria-live': 'polite' });
    const until = ['Until', new Date(message.expiresAt).toLocaleString()];
    const shown = this.show(message, title, pairs([...facts, until]), this.chain, this.outlook);
    this.steps(message);
    await this.fetch(shown, async () => {
      const text = await server.trace(message.id);
      const { receipts, withoutReceipts, fleet, request, key } = JSON.parse(text);
      Object.assign(message, { receipts, withoutReceipts, request, key });
      if (this.shown === shown) this.steps(message);
      const envelope = lastMember(text, 'message');
      const again = element('button', { onclick: () => this.sendAgain(message, envelope) }, 'Send again');
      const { popup, popupText, popupBtn } = JSON.parse(envelope);
      const parts = key ? [element('p', { class: 'count' }, `Key: ${key}`)] : [];
      if (popup) {
        parts.push(element('blockquote', {}, popupText));
        parts.push(element('p', { class: 'count' }, popupBtn ? 'with the buttons OK and Cancel' : 'without buttons'));
      }
      const json = lastMember(envelope, 'content');
      if (json) parts.push(...content(json));
      const whole = fleet && element('button', { onclick: () => this.openFleet(fleet) }, 'The fleet message');
      return [...parts, element('p', { class: 'actions' }, ...(whole ? [whole] : []), again)];
    });
  }

  /** Notes a step of the message that is shown, which no list has; gives the message, if it is that. */
  noted(step) {
    const item = this.shown?.item;
    if (item?.way !== 'down' || item.id !== step.id) return undefined;
    note(item, step);
    return item;
  }

  /** A vehicle has come or gone: a message for it may wait for something else now. */
  came({ vin }) {
    const item = this.shown?.item;
    if (item?.way === 'down' && item.vin === vin) this.steps(item);
  }

  /** A step was noted: shows it if it is of the message that is shown. */
  stepped(message) {
    if (this.shown?.item === message) this.steps(message);
  }

  steps(message) {
    const { steps } = message;
    const begin = Date.parse(steps[0].at);
    const rows = steps.map(({ step, at }, index) => {
      const time = Date.parse(at);
      const after = index > 0 ? `+${duration(time - begin)}` : '';
      const said = meaning(step, message);
      return element(
        'li',
        { 'data-tone': tone(step) },
        element('b', {}, stepName(step)),
        ' ',
        element('time', { datetime: at }, clock(time)),
        ' ',
        element('span', {}, after),
        ...(said ? [element('p', {}, said)] : []),
      );
    });
    this.chain.replaceChildren(...rows);
    const text = outlook(message, this.known(message.vin));
    setText(this.outlook, text);
    this.outlook.hidden = !text;
  }

  async vehicle(vehicle) {
    const since = `${vehicle.presence} since ${new Date(vehicle.since).toLocaleString()}`;
    const shown = this.show(vehicle, vehicle.vin, element('p', {}, since));
    await this.fetch(shown, async () => {
      const { health } = await server.vehicle(vehicle.vin);
      if (!health) return [element('p', { class: 'count' }, 'It has not reported its health since the server started.')];
      const { agent, platform, uptimeS, crash, stack, counters = {}, troubles = {} } = health.report;
      const facts = [
        ['Agent', `${agent} on ${platform}`],
        ['Up', duration(uptimeS * 1000)],
        ['Reported', `${duration(Date.now() - Date.parse(health.reportedAt))} ago`],
        ...(stack ? [['Stack', `${bytes(stack.used)} of ${bytes(stack.size)}`]] : []),
        ...Object.entries(counters).map(([name, count]) => [words(name), number(count)]),
      ];
      const parts = [pairs(facts)];
      if (crash) parts.push(element('p', { role: 'alert', class: 'badge', 'data-tone': 'bad' }, `its last run ended badly: ${crash}`));
      const lost = Object.entries(troubles).filter(([, count]) => count > 0);
      parts.push(element('h3', {}, 'Lost or refused in the car'));
      parts.push(lost.length > 0 ? pairs(lost.map(([name, count]) => [words(name), number(count)])) : element('p', { class: 'count' }, 'nothing'));
      return parts;
    });
  }

  /** Shows what `read` finds, unless something else is shown by then. */
  async fetch(shown, read) {
    let parts;
    try {
      parts = await read();
    } catch (error) {
      parts = [error.status === 404 ? gone() : element('p', { role: 'alert' }, error.message)];
    }
    if (this.shown === shown) shown.content.replaceWith(...parts);
  }
}

export const mono = (text) => element('span', { class: 'mono' }, text);

/** Names and values. */
export const pairs = (facts) =>
  element('dl', {}, ...facts.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));

const gone = () => element('p', { class: 'count' }, 'It is not kept any more.');

/** Characters of a content above which its beginning is shown, as it is written: a page that holds a
    mebibyte in lines of their own answers nobody. */
const SHOWN = 64 * 1024;

/** A content in lines. */
export function content(json) {
  if (json.length <= SHOWN) return [pre(indented(json))];
  const note = `The first ${number(SHOWN)} of ${number(json.length)} characters; the interface has all of it.`;
  return [element('p', { class: 'count' }, note), pre(`${json.slice(0, SHOWN)}…`)];
}

const pre = (text) => element('pre', { tabindex: '0', 'aria-label': 'Content' }, text);

/** `uplinksAccepted` as `uplinks accepted`. */
const words = (name) => name.replace(/([A-Z])/g, ' $1').toLowerCase();
