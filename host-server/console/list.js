// A list of any length of which only the rows in sight are elements. It is a listbox: arrows, page
// keys, Home and End move the selection, and a reader is told where it stands among all of them.

import { element } from './texts.js';

/** Rows beyond the edges, so that a quick scroll does not show gaps. */
const MARGIN = 4;

let lists = 0;

export class List {
  /**
   * `count` tells how many items there are, `item` which is at a place, `key` what tells it from all
   * others; `make` makes a row's element and `fill` shows an item in it; `chosen` is told of the
   * selection.
   */
  constructor(node, { label, rowHeight, count, item, key, make, fill, chosen, empty }) {
    Object.assign(this, { node, rowHeight, count, item, key, make, fill, chosen, empty });
    this.name = `list-${(lists += 1)}`;
    this.selected = undefined;
    this.place = -1;
    this.rows = new Map();
    this.space = element('div', { class: 'space', role: 'presentation' });
    this.none = element('p', { class: 'empty' });
    node.append(this.space, this.none);
    node.tabIndex = 0;
    node.setAttribute('aria-label', label);
    node.addEventListener('scroll', () => this.draw(), { passive: true });
    node.addEventListener('keydown', (event) => this.onKey(event));
    this.space.addEventListener('click', (event) => {
      const row = event.target.closest('.row');
      if (row) this.select(Number(row.dataset.place), true);
    });
    new ResizeObserver(() => this.draw()).observe(node);
  }

  /** The items have changed: `added` of them are new at the top. Who has scrolled down stays where it reads. */
  changed(added = 0) {
    if (added > 0 && this.node.scrollTop > 0) this.node.scrollTop += added * this.rowHeight;
    this.draw();
  }

  draw() {
    const count = this.count();
    const height = `${count * this.rowHeight}px`;
    if (this.space.style.height !== height) this.space.style.height = height;
    // A listbox has options.
    this.node.setAttribute('role', count > 0 ? 'listbox' : 'region');
    this.none.hidden = count > 0;
    if (count === 0) this.none.textContent = this.empty();
    const first = Math.max(0, Math.floor(this.node.scrollTop / this.rowHeight) - MARGIN);
    const inSight = Math.ceil(this.node.clientHeight / this.rowHeight) + 2 * MARGIN;
    const last = Math.min(count, first + inSight);
    // An element serves one place of every so many: a scroll moves few of them.
    const used = new Set();
    let active = '';
    for (let place = first; place < last; place += 1) {
      const slot = place % inSight;
      used.add(slot);
      let row = this.rows.get(slot);
      if (!row) {
        row = this.make();
        row.classList.add('row');
        row.id = `${this.name}-${slot}`;
        row.setAttribute('role', 'option');
        row.style.height = `${this.rowHeight}px`;
        this.rows.set(slot, row);
        this.space.append(row);
      }
      const item = this.item(place);
      const isSelected = this.selected !== undefined && this.key(item) === this.selected;
      if (isSelected) {
        active = row.id;
        this.place = place;
      }
      row.hidden = false;
      row.dataset.place = place;
      row.style.top = `${place * this.rowHeight}px`;
      row.setAttribute('aria-posinset', place + 1);
      row.setAttribute('aria-setsize', count);
      row.setAttribute('aria-selected', isSelected);
      this.fill(row, item);
    }
    for (const [slot, row] of this.rows) {
      if (!used.has(slot)) row.hidden = true;
    }
    if (active) this.node.setAttribute('aria-activedescendant', active);
    else this.node.removeAttribute('aria-activedescendant');
  }

  /** Selects the item at a place, if there is one. */
  select(place, tell) {
    if (place < 0 || place >= this.count()) return;
    const item = this.item(place);
    this.selected = this.key(item);
    this.place = place;
    const [top, height] = [place * this.rowHeight, this.node.clientHeight];
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + this.rowHeight > this.node.scrollTop + height) {
      this.node.scrollTop = top + this.rowHeight - height;
    }
    this.draw();
    if (tell) this.chosen(item);
  }

  /** Selects nothing, or whatever has this key. */
  mark(key) {
    this.selected = key;
    this.draw();
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.node.clientHeight / this.rowHeight) - 1);
    const count = this.count();
    const now = this.selected === undefined ? -1 : this.current();
    const to = {
      ArrowDown: now + 1,
      ArrowUp: Math.max(0, now - 1),
      PageDown: Math.min(count - 1, now + page),
      PageUp: Math.max(0, now - page),
      Home: 0,
      End: count - 1,
      Enter: Math.max(0, now),
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.select(Math.min(to, count - 1), true);
  }

  /** Where the selected item is now: others may have come before it. */
  current() {
    const count = this.count();
    const isAt = (place) => place >= 0 && place < count && this.key(this.item(place)) === this.selected;
    if (isAt(this.place)) return this.place;
    for (let place = 0; place < count; place += 1) if (isAt(place)) return place;
    return -1;
  }
}
