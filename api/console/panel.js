// What stands beside the conversation: the workflow, its code and history, or one message.

import { h } from "./dom.js";

/** Tabs, as the pattern of the ARIA guide has them: arrows move between them. */
export class Panel {
  /** `pages`: [name, label, {element, show()}] in their order. */
  constructor(pages) {
    this._pages = new Map(pages.map(([name, label, page]) => [name, this._page(name, label, page)]));
    const tabs = [...this._pages.values()].map((page) => page.tab);
    this._tabs = h("div", {
      role: "tablist", "aria-label": "About the workflow", class: "tabs",
      onkeydown: (event) => this._moved(event),
    }, tabs);
    this.element = h("section", { class: "panel", "aria-label": "Workflow" }, this._tabs,
      [...this._pages.values()].map((page) => page.body));
    this.open(pages[0][0]);
  }

  _page(name, label, { element, show }) {
    const tab = h("button", {
      role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, type: "button",
      onclick: () => this.open(name),
    }, label);
    const body = h("div", {
      role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, tabindex: "-1",
    }, element);
    return { tab, body, show };
  }

  /** Show a page. */
  open(name) {
    this.opened = name;
    for (const [other, { tab, body }] of this._pages) {
      tab.setAttribute("aria-selected", String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
      body.hidden = other !== name;
    }
    this.refresh();
  }

  /** Let the page that is seen take in what is new. */
  refresh() {
    this._pages.get(this.opened).show();
  }

  _moved(event) {
    const names = [...this._pages.keys()];
    const at = names.indexOf(this.opened);
    const to = {
      ArrowRight: (at + 1) % names.length,
      ArrowLeft: (at + names.length - 1) % names.length,
      Home: 0,
      End: names.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.open(names[to]);
    this._pages.get(names[to]).tab.focus();
  }
}
