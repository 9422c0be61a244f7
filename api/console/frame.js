// What stands around every place: the bar at the top, and below, on a narrow screen, the views.

import { forgetKey, hasKey } from "./api.js";
import { button, h } from "./dom.js";

const VIEWS = [["list", "Sessions", "list"], ["talk", "Talk", "bubble"], ["panel", "Workflow", "graph"]];
const part = (id) => document.getElementById(id);

/** The frame of the page. */
export class Frame {
  /** `parts`: the elements of all places; the style sheet says which are seen where. */
  constructor(parts) {
    this._main = h("main", { id: "main", tabindex: "-1", "data-view": "talk", "data-page": "none" }, parts);
    this._views = h("nav", { class: "views", "aria-label": "Views" },
      VIEWS.map(([view, text, symbol]) =>
        button(text, { text, symbol, "data-view": view, onclick: () => this.view(view) })));
    part("page").append(this._main, this._views);
    part("theme").addEventListener("click", () => document.dispatchEvent(new Event("choose-theme")));
    part("key").addEventListener("click", () => (forgetKey(), location.reload()));
    part("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address says which place is open
      this._main.focus();
    });
  }

  /** Show the parts of a kind of place. */
  page(name) {
    this._main.dataset.page = name;
    part("operations").toggleAttribute("aria-current", name === "operations");
  }

  /** Offer to forget the key, if there is one. */
  key() {
    part("key").hidden = !hasKey();
  }

  /** Choose what is seen on a narrow screen. */
  view(name) {
    this._main.dataset.view = name;
    for (const each of this._views.children) {
      each.setAttribute("aria-pressed", String(each.dataset.view === name));
    }
  }

  /** Say which model answers. */
  model(name, offline) {
    const badge = part("model");
    badge.textContent = offline ? "offline model" : name;
    badge.title = offline ? "A small built-in set of rules answers" : "The model that answers";
    badge.hidden = false;
  }
}
