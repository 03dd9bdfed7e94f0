// Tabs: one of several panes is shown; arrow keys move between them.

import { byId } from './texts.js';

export class Tabs {
  constructor(id) {
    this.tabs = [...byId(id).querySelectorAll('[role=tab]')];
    for (const tab of this.tabs) tab.addEventListener('click', () => this.choose(tab.id));
    byId(id).addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const count = this.tabs.length;
      const at = this.tabs.findIndex((tab) => tab.ariaSelected === 'true');
      const next = this.tabs[(at + step + count) % count];
      this.choose(next.id);
      next.focus();
    });
  }

  choose(id) {
    for (const tab of this.tabs) {
      const isChosen = tab.id === id;
      tab.setAttribute('aria-selected', isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
      byId(tab.getAttribute('aria-controls')).hidden = !isChosen;
    }
  }
}
