// Where a person writes: what is written survives a reload, and is sent once.

import { announce, button, h } from "./dom.js";

const DRAFT = "vibecoder.draft.";
const MODEL = "vibecoder.model";

/** The place to write. */
export class Composer {
  /** `send(prompt, {key, model, replace})` resolves once the message is accepted. */
  constructor({ send, stop }) {
    this._send = send;
    this._text = h("textarea", {
      id: "prompt", rows: "1", "aria-label": "Prompt", "aria-describedby": "prompt-hint",
      placeholder: "What should the workflow do?",
      oninput: () => this._typed(),
      onkeydown: (event) => this._pressed(event, stop),
    });
    this._models = h("select", {
      "aria-label": "Model", hidden: true,
      onchange: () => sessionStorage.setItem(MODEL, this._models.value),
    });
    this._replace = button("Send, and stop what runs or waits", {
      text: "Send instead", class: "small", hidden: true,
      onclick: () => this.submit({ replace: true }),
    });
    this._button = button("Send", { symbol: "send", text: "Send", class: "primary", type: "submit" });
    this.element = h("form", { class: "composer", onsubmit: (event) => {
      event.preventDefault();
      this.submit();
    } },
      this._text,
      h("div", { class: "row" },
        this._models,
        h("small", { id: "prompt-hint" }, "Enter sends, Shift+Enter begins a line"),
        h("span", { class: "grow" }), this._replace, this._button));
  }

  /** Offer models, if there is a choice. */
  offer(models, chosen) {
    this._models.replaceChildren(...models.map((model) => h("option", { value: model }, model)));
    const kept = sessionStorage.getItem(MODEL);
    this._models.value = models.includes(kept) ? kept : chosen;
    this._models.hidden = models.length < 2;
  }

  /** Say whether something runs that a prompt would have to wait for. */
  busy(count) {
    this._replace.hidden = count === 0;
    this._button.lastChild.textContent = count ? "Queue" : "Send";
  }

  /** Write to another session; what was begun there comes back. */
  open(sessionId) {
    this._session = sessionId;
    this._text.disabled = false;
    const { text = "" } = this._draft();
    this._text.value = text;
    this._fit();
  }

  /** Take nothing until a session is open: it would be another one's. */
  close() {
    this._text.disabled = true;
  }

  focus() {
    this._text.focus({ preventScroll: true });
  }

  /** Send what is written, or another prompt. */
  async submit({ prompt = this._text.value, replace = false, title } = {}) {
    if (!prompt.trim() || this._sending) return;
    const typed = prompt === this._text.value;
    const key = typed ? this._key(prompt) : newKey();
    this._sending = this._button.disabled = true;
    try {
      await this._send(prompt, { key, model: this._models.value, replace, title });
      if (typed) sessionStorage.removeItem(DRAFT + this._session);
      if (typed && this._text.value === prompt) this._text.value = "";
    } catch (error) {
      announce(error.message, { seen: true, wrong: true });
    }
    this._sending = this._button.disabled = false;
    this._fit();
  }

  /** Give the same prompt the same key until it is accepted, also after a reload. */
  _key(prompt) {
    const draft = this._draft();
    const key = draft.text === prompt && draft.key ? draft.key : newKey();
    this._keep({ text: prompt, key });
    return key;
  }

  _typed() {
    this._keep({ text: this._text.value });
    this._fit();
  }

  _pressed(event, stop) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "Escape") {
      stop();
    }
  }

  _draft() {
    return JSON.parse(sessionStorage.getItem(DRAFT + this._session) || "{}");
  }

  _keep(draft) {
    try {
      sessionStorage.setItem(DRAFT + this._session, JSON.stringify(draft));
    } catch {
      // too long to be kept: then it lives in the page only
    }
  }

  _fit() {
    this._text.style.height = "auto";
    this._text.style.height = `${Math.min(this._text.scrollHeight + 2, 240)}px`;
  }
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
