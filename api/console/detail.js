// Everything about one message: attempts, waterfall, model calls, tool calls, tokens.

import { get, knows, request } from "./api.js";
import { button, copy, costs, counted, duration, h, moment, number } from "./dom.js";
import { toolCall } from "./message.js";
import { link } from "./route.js";
import { showPicture } from "./svg.js";

const MOST = 200_000;

/** The page of a message. */
export class Detail {
  constructor() {
    this.element = h("div", { class: "page detail" });
    this.show = () => this._draw();
    this.set(null);
  }

  /** Show another message, or the same anew: it may have ended. */
  set(there) {
    this._there = there;
    this._shown = undefined;
  }

  async _draw() {
    const there = this._there;
    if (!there?.message) {
      this.element.replaceChildren(h("p", { class: "muted" }, "Choose “Details” at a message."));
      return;
    }
    if (this._shown === there.message) return;
    this._shown = there.message;
    try {
      const [full, usage] = await Promise.all([
        get(`/messages/${there.message}/full`),
        knows("/messages/{message_id}/usage") ? get(`/messages/${there.message}/usage`) : {},
      ]);
      if (this._shown !== there.message) return;
      this.element.replaceChildren(...sections(full, usage, there));
      await this._drawTrace(there.message);
    } catch (error) {
      this.element.replaceChildren(h("p", { class: "notice wrong" }, error.message));
    }
  }

  async _drawTrace(message) {
    if (!knows("/messages/{message_id}/trace.svg")) return;
    const text = await (await request(`/messages/${message}/trace.svg`)).text();
    if (this._shown !== message) return;
    this.element.querySelector(".facts-table").after(h("section", {},
      h("div", { class: "row" }, h("h3", {}, "Where the time went"), h("span", { class: "grow" }),
        button("Show it large", { text: "Show it large", class: "small", onclick: () => showLarge(text) })),
      waterfall(text, "picture")));
  }
}

/** Show a trace as the server draws it: made small in the panel, or wide. */
function waterfall(text, kind) {
  const host = h("div", { class: kind, tabindex: "0", role: "region", "aria-label": "Where the time went" });
  showPicture(host, text);
  return host;
}

function showLarge(text) {
  const dialog = h("dialog", { class: "large", "aria-label": "Where the time went" },
    waterfall(text, "picture wide"),
    h("div", { class: "row end" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function sections(full, usage, there) {
  return [
    h("div", { class: "row" }, h("h2", {}, "Message"), h("span", { class: `status ${full.status}` }, full.status.replace("_", " ")),
      h("span", { class: "grow" }),
      button("Copy a link to this message", { symbol: "link", text: "Link", class: "small", onclick: () => copy(link({ page: "project", ...there }), "Link") })),
    facts(full, usage),
    section("Attempts", full.attempts.map(attempt)),
    section("Model calls", full.responses.map(modelCall)),
    section("Tool calls", full.tool_calls.map(toolCall)),
    section("What the conversation remembers", full.items.length ? [fold("Items", raw("items", full.items))] : []),
  ].filter(Boolean);
}

const section = (title, children) => children.length > 0 && h("section", {}, h("h3", {}, title), children);

const tokens = ({ input_tokens: read = 0, output_tokens: written = 0, requests, uncounted_calls: unknown = 0 }) =>
  `${number(read)} read, ${number(written)} written, ${counted(requests, "model call")}`
  + (unknown ? `; those of ${counted(unknown, "call")} unknown` : "");

function facts(full, usage) {
  const rows = [
    ["Prompt", h("span", { class: "clamp", dir: "auto" }, full.content)],
    ["Model", full.model],
    ["Accepted", moment(full.created_at)],
    full.claimed_at && ["Waited", duration(seconds(full.created_at, full.claimed_at))],
    full.ended_at && ["Took", duration(seconds(full.created_at, full.ended_at))],
    (full.usage || full.status === "completed") && ["Tokens", full.usage ? tokens(full.usage) : "unknown"],
    usage.totals && ["Cost", costs(usage.totals)],
    full.revision && ["Made revision", String(full.revision)],
    full.error && ["Failure", h("span", {}, h("code", {}, full.error.code), ` ${full.error.detail}`)],
    ["Message id", copied(full.message_id, "Message id")],
    ["Trace id", copied(full.trace_id, "Trace id")],
  ].filter(Boolean);
  return h("dl", { class: "facts-table" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

const copied = (value, what) =>
  button(`Copy the ${what.toLowerCase()} ${value}`, { text: value, class: "mono trace", onclick: () => copy(value, what) });

const seconds = (from, to) => (new Date(to) - new Date(from)) / 1000;

function attempt({ number: n, worker_id: worker, started_at: from, ended_at: to, outcome, error }) {
  return h("div", { class: "row attempt" },
    h("strong", {}, `Attempt ${n}`), h("span", { class: `status ${outcome || "in_progress"}` }, outcome || "running"),
    h("span", {}, to ? duration(seconds(from, to)) : ""), h("span", { class: "grow" }),
    h("span", { class: "mono muted", title: `Worker ${worker}` }, worker.slice(0, 8)), moment(from),
    error && h("p", { class: "muted" }, error.detail));
}

function modelCall(call) {
  const { number: n, model, usage, error, started_at: from, ended_at: to } = call;
  const read = usage ? `${number(usage.input_tokens)} read, ${number(usage.output_tokens)} written` : "tokens unknown";
  return h("details", { class: "fold" },
    h("summary", {}, h("strong", {}, `Call ${n}`), h("span", {}, model), h("span", { class: "muted" }, error || read),
      h("span", { class: "grow" }), h("span", { class: "muted" }, duration(to - from))),
    call.request && [h("h4", {}, "Request, as it was sent"), raw("request", call.request),
      h("p", { class: "muted" }, `With it went ${counted(call.request.input_items, "item")} of the conversation: see below.`)],
    h("h4", {}, "Response, as it came"), raw("response", call.raw),
    call.request_id && h("p", { class: "muted" }, "Request id ", h("code", {}, call.request_id)));
}

const fold = (title, ...children) =>
  h("details", { class: "fold" }, h("summary", {}, title), children);

/** Show JSON; a very long one in parts. */
function raw(name, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const shown = h("pre", { class: "raw", tabindex: "0", role: "region", "aria-label": name }, text.slice(0, MOST));
  const more = text.length > MOST && button(`Show all ${number(text.length)} characters`, {
    text: `Show all ${number(text.length)} characters`, class: "link",
    onclick: () => (shown.textContent = text, more.remove()),
  });
  const copyIt = button(`Copy the ${name}`, { symbol: "copy", class: "small bare corner", onclick: () => copy(text, name) });
  return h("div", { class: "raw-frame" }, copyIt, shown, more);
}
