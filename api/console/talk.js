// The conversation of a session: what was said, what is being said, and the next prompt.

import { Problem, all, call, get, knows } from "./api.js";
import { announce, ask, button, copy, h } from "./dom.js";
import { MessageCard, hasEnded } from "./message.js";
import { link } from "./route.js";
import { watch } from "./stream.js";

const SHOWN = 60;
const NEAR_PX = 80;
const OUTLOOK_MS = 3000;

/** A session's messages and the place to write; one at a time is open. */
export class Conversation {
  /** `app` is asked to open a message or a session, and told when something has changed. */
  constructor(app) {
    this.app = app;
    this._log = h("div", { class: "log", role: "log", "aria-label": "Conversation", "aria-live": "off" });
    this._earlier = button("Show earlier messages", {
      text: "Show earlier messages", class: "small earlier", hidden: true,
      onclick: () => this._showEarlier(),
    });
    this._begin = h("div", { class: "begin" });
    this._scroller = h("div", { class: "scroller", tabindex: "-1" },
      this._begin, this._earlier, this._log);
    this._newest = button("Go to the newest message", {
      symbol: "down", class: "newest", hidden: true, onclick: () => this._toEnd(),
    });
    this._connection = h("div", { class: "connection", hidden: true },
      "The connection is lost; trying again. Nothing is lost with it.");
    this.element = h("div", { class: "conversation" }, this._scroller, this._newest, this._connection);
    this._scroller.addEventListener("scroll", () => this._scrolled());
    // what is drawn late, or grows, does not push the newest out of sight
    const grown = new ResizeObserver(() => this._atEnd && this._toEnd());
    grown.observe(this._log);
    grown.observe(this._scroller);
    this._log.addEventListener("click", () => {
      this._atEnd = false; // what a person unfolds stays where it is
    });
    this._cards = new Map();
    this._stop = new AbortController();
    document.addEventListener("visibilitychange", () => this._follow());
    setInterval(() => this._refreshOutlook(), OUTLOOK_MS);
  }

  /** Show another session, or the same anew. */
  async open(sessionId) {
    if (this.sessionId !== sessionId) this.close();
    this.sessionId = sessionId;
    await this.refresh();
  }

  close() {
    this._stop.abort();
    this._watched = null;
    this.sessionId = null;
    this._cards.clear();
    this._log.replaceChildren();
    this._hidden = [];
    this._earlier.hidden = true;
  }

  /** Take in what has been said since, here or elsewhere. */
  async refresh() {
    const sessionId = this.sessionId;
    const messages = await all(`/sessions/${sessionId}/messages`);
    if (sessionId !== this.sessionId) return;
    const known = new Set(messages.map((message) => message.message_id));
    for (const [id, card] of this._cards) {
      if (!known.has(id)) {
        card.element.remove();
        this._cards.delete(id);
      }
    }
    this._take(messages);
    this._follow();
  }

  _take(messages) {
    const first = this._cards.size === 0;
    const shown = this._cards.keys().next().value;
    const from = first
      ? Math.max(0, messages.length - SHOWN)
      : messages.findIndex((message) => message.message_id === shown);
    this._hidden = messages.slice(0, Math.max(from, 0));
    for (const message of messages.slice(Math.max(from, 0))) this._show(message);
    this._earlier.hidden = this._hidden.length === 0;
    this._begin.hidden = messages.length > 0;
    if (first) this._toEnd();
  }

  _show(message) {
    const known = this._cards.get(message.message_id);
    if (known) {
      const later = !hasEnded(known.message) && (hasEnded(message) || message.content !== known.message.content);
      if (later) known.update(message);
      if (later && hasEnded(message)) this._ended(known);
      return known;
    }
    const card = new MessageCard(message, this._actions());
    this._cards.set(message.message_id, card);
    this._log.append(card.element);
    this._begin.hidden = true;
    return card;
  }

  _showEarlier(count = SHOWN) {
    const taken = this._hidden.splice(-count);
    const later = [...this._cards];
    const height = this._scroller.scrollHeight;
    const cards = taken.map((message) => new MessageCard(message, this._actions()));
    this._cards = new Map([...cards.map((card) => [card.id, card]), ...later]);
    this._log.prepend(...cards.map((card) => card.element));
    this._scroller.scrollTop += this._scroller.scrollHeight - height;
    this._earlier.hidden = this._hidden.length === 0;
  }

  /** Bring a message into view and mark it. */
  select(messageId) {
    this._log.querySelector(".selected")?.classList.remove("selected");
    if (!messageId) return;
    this._atEnd = false;
    const at = this._hidden.findIndex((message) => message.message_id === messageId);
    if (at >= 0) this._showEarlier(this._hidden.length - at);
    const card = this._cards.get(messageId);
    card?.element.classList.add("selected");
    card?.element.scrollIntoView({ block: "nearest" });
  }

  /** Watch the first message that has not ended; the others wait behind it. */
  _follow() {
    const head = document.hidden ? null : this._unfinished()[0];
    if (this._watched === (head?.id ?? null)) return;
    this._stop.abort();
    this._stop = new AbortController();
    this._watched = head?.id ?? null;
    if (head) this._watch(head, this._stop.signal);
    this.app.busy(this._unfinished());
  }

  /** Count the messages, shown or not. */
  get count() {
    return this._cards.size + (this._hidden?.length || 0);
  }

  /** Tell whether this is what the service says of the session. */
  agrees(session) {
    return session.messages === this.count && session.unfinished === this._unfinished().length;
  }

  _unfinished() {
    return [...this._cards.values()].filter((card) => !hasEnded(card.message));
  }

  async _watch(card, signal) {
    const connected = (up) => {
      this._connection.hidden = up;
    };
    try {
      for await (const event of watch(card.id, signal, connected)) {
        card.apply(event);
        if (event.kind === "code_changed") continue;
        if (hasEnded(card.message)) this._ended(card);
        else if (event.kind === "claimed") this.app.busy(this._unfinished());
      }
      if (!signal.aborted && !hasEnded(card.message)) card.update(await get(`/messages/${card.id}`));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      announce(error.message, { seen: true, wrong: true });
      await this.refresh().catch(() => {});
    }
    if (!signal.aborted) this._next();
  }

  _ended(card) {
    const { status, reply, error } = card.message;
    announce(status === "completed" ? `VibeCoder: ${reply.slice(0, 600)}` : `${status}: ${error?.detail}`);
    if (card.message.revision) this.app.codeChanged(card.message.revision);
  }

  _next() {
    this._watched = undefined;
    this._follow();
    this._unfinished().forEach((card, position) =>
      card.message.status === "queued" && card.update({ ...card.message, position }));
    this.app.spoken();
  }

  async _refreshOutlook() {
    if (document.hidden || !this.sessionId) return;
    const waiting = this._unfinished().filter((card) => card.message.status === "queued");
    for (const card of waiting.slice(0, 5)) {
      const message = await get(`/messages/${card.id}`).catch(() => null);
      // only while nothing newer came from its stream
      if (message?.status === "queued" && card.message.status === "queued") card.update(message);
    }
  }

  /** Send a prompt; resolves once it is accepted. */
  async send(prompt, { key, model, replace = false }) {
    const { sessionId } = this;
    const body = { prompt, ...(model && { model }), ...(replace && { on_busy: "rollback" }) };
    const message = await call("POST", `/sessions/${sessionId}/messages`, body, {
      Prefer: "respond-async",
      "Idempotency-Key": key,
    });
    if (sessionId !== this.sessionId) return;
    if (replace) await this.refresh();
    const card = this._show(message);
    if (hasEnded(card.message)) this._ended(card); // a refresh saw it end before this answer came
    this._toEnd();
    this._follow();
    this.app.busy(this._unfinished());
    this.app.spoken({ here: true });
  }

  /** Stop what runs; tell whether there was something. */
  stopRunning() {
    const running = this._unfinished()[0];
    if (running) this._do(running, "POST", "/cancel");
    return Boolean(running);
  }

  async _do(card, method, path, body) {
    try {
      card.update(await call(method, `/messages/${card.id}${path}`, body));
    } catch (error) {
      announce(error.message, { seen: true, wrong: true });
      await this.refresh();
    }
    if (hasEnded(card.message)) {
      if (this._watched === card.id) this._stop.abort();
      this._next();
    }
  }

  _actions() {
    const { app } = this;
    const there = (card) => ({
      page: "project", project: card.message.project_id, session: card.message.session_id,
      message: card.id,
    });
    return {
      stop: (card) => this._do(card, "POST", "/cancel"),
      withdraw: (card) => this._do(card, "DELETE", ""),
      change: (card) => this._change(card),
      retry: (card) => app.send(card.message.content),
      open: (card) => app.openMessage(there(card)),
      link: (card) => copy(link(there(card)), "Link"),
      ...(knows("/messages/{message_id}/fork") && { fork: (card) => this._fork(card) }),
    };
  }

  async _change(card) {
    const asked = await ask("Change the prompt", {
      fields: [{ name: "prompt", label: "Prompt", value: card.message.content, lines: 6 }],
      text: "Possible as long as no worker has begun it.",
    });
    if (asked?.prompt) await this._do(card, "PATCH", "", { prompt: asked.prompt });
  }

  async _fork(card) {
    const asked = await ask("Fork the conversation from here", {
      text: "A further session begins that remembers everything up to this reply.",
      fields: [{ name: "copy", label: "In a copy of the project, with the code of that moment", type: "checkbox", required: false }],
      action: "Fork",
    });
    if (!asked) return;
    try {
      const session = await call("POST", `/messages/${card.id}/fork`, { copy_project: asked.copy });
      await this.app.openSession(session);
    } catch (error) {
      announce(error.message, { seen: true, wrong: true });
    }
  }

  /** Offer what to say first. */
  suggest(element) {
    this._begin.replaceChildren(element);
  }

  /** Stay at the end until a person scrolls up. */
  _scrolled() {
    const { scrollTop } = this._scroller;
    const up = scrollTop < this._scrollTop;
    this._scrollTop = scrollTop;
    if (this._nearEnd()) this._atEnd = true;
    else if (up) this._atEnd = false;
    this._newest.hidden = this._atEnd;
  }

  _nearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this._scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  _toEnd() {
    this._scroller.scrollTop = this._scroller.scrollHeight;
    this._atEnd = this._newest.hidden = true;
  }
}
