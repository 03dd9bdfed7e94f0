// To whom the form sends: one vehicle, those of a list, or those that fit a filter.

import { byId, number, setText } from './texts.js';

export class Recipients {
  /** `vehicles` tells those that the page shows, with their presence. */
  constructor(form, vehicles) {
    Object.assign(this, { form, vehicles });
    byId('take-vins').addEventListener('click', () => {
      byId('send-vins').value = this.vehicles().map(({ vin }) => vin).join('\n');
      this.form.dispatchEvent(new Event('input'));
    });
  }

  get kind() {
    return this.form.elements.to.value;
  }

  get areMany() {
    return this.kind !== 'one';
  }

  choose(kind) {
    this.form.elements.to.value = kind;
  }

  /** The VINs of the list, however they are set apart. */
  vins() {
    return byId('send-vins').value.split(/[\s,;]+/).filter(Boolean);
  }

  /** A vehicle was chosen: it is the one, or one more of the list. */
  to(vin) {
    byId('send-vin').value = vin;
    const vins = this.vins();
    if (this.kind === 'list' && !vins.includes(vin)) byId('send-vins').value = [...vins, vin].join('\n');
  }

  /** Shows the fields of what is chosen, and how many it would be for. */
  show() {
    for (const [id, kind] of [['one-field', 'one'], ['list-fields', 'list'], ['filter-fields', 'filter']]) byId(id).hidden = this.kind !== kind;
    byId('rate-field').hidden = !this.areMany;
    byId('send-count').hidden = !this.areMany;
    setText(byId('take-vins'), `Take the ${number(this.vehicles().length)} that the page shows`);
    if (this.kind === 'list') setText(byId('send-count'), countOf(new Set(this.vins()).size));
    if (this.kind === 'filter') {
      const fit = this.vehicles(true).filter(({ vin, presence }) => vin.startsWith(this.prefix) && (!this.presence || (presence === 'online') === (this.presence === 'true')));
      setText(byId('send-count'), `${countOf(fit.length)} that this page knows; of them, those that have sent the partner something`);
    }
  }

  get prefix() {
    return byId('send-prefix').value.trim();
  }

  get presence() {
    return byId('send-presence').value;
  }

  /** What is missing, and where. */
  fault() {
    if (this.kind === 'one' && !byId('send-vin').value.trim()) return ['name the vehicle by its VIN', 'send-vin'];
    if (this.kind === 'list' && this.vins().length === 0) return ['name the vehicles by their VINs, one a line', 'send-vins'];
    return ['', ''];
  }

  /** The member that names the vehicles, as the server has it. */
  asked() {
    if (this.kind === 'list') return { vins: this.vins() };
    const filter = {};
    if (this.prefix) filter.vinPrefix = this.prefix;
    if (this.presence) filter.online = this.presence === 'true';
    return { filter };
  }
}

const countOf = (count) => `${number(count)} ${count === 1 ? 'vehicle' : 'vehicles'}`;
