// Small charts: a figure, and a line of how it went.

import { element, setText } from './texts.js';

/** Seconds that a line shows. */
const SECONDS = 180;
const [WIDTH, HEIGHT] = [SECONDS - 1, 34];
const SVG = 'http://www.w3.org/2000/svg';

/** One figure. */
export class Tile {
  constructor(parent, title, { tone, least = 1 } = {}) {
    this.title = title;
    this.least = least;
    this.values = [];
    this.value = element('p', { class: 'value' }, '–');
    this.figure = document.createTextNode('–');
    this.more = element('small');
    this.value.replaceChildren(this.figure, ' ', this.more);
    this.svg = document.createElementNS(SVG, 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('role', 'img');
    this.area = this.path('area');
    this.line = this.path('line');
    this.node = element('article', { class: 'tile', 'data-tone': tone }, element('h3', {}, title), this.value, this.svg);
    parent.append(this.node);
  }

  path(name) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('class', name);
    this.svg.append(path);
    return path;
  }

  /** One more second; `shown` is the figure in words, `more` what stands behind it. */
  push(value, shown, more = '', alarm = false) {
    this.values.push(value);
    if (this.values.length > SECONDS) this.values.shift();
    setText(this.figure, shown);
    setText(this.more, more);
    this.node.toggleAttribute('data-alarm', alarm);
    this.draw();
    const top = Math.max(...this.values);
    this.svg.setAttribute('aria-label', `${this.title}, the last three minutes: now ${shown} ${more}, at most ${Math.round(top * 10) / 10}`);
  }

  draw() {
    const top = Math.max(this.least, ...this.values);
    const begin = SECONDS - this.values.length;
    const points = this.values.map(
      (value, index) => `${begin + index} ${(HEIGHT - 1.5 - (value / top) * (HEIGHT - 5)).toFixed(1)}`,
    );
    const line = `M${points.join('L')}`;
    this.line.setAttribute('d', line);
    this.area.setAttribute('d', `${line}L${WIDTH} ${HEIGHT}L${begin} ${HEIGHT}Z`);
  }
}
