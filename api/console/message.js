// One message of a conversation: prompt, steps, reply, change, and what a person can do with it.

import { get } from "./api.js";
import { announce, button, copy, counted, duration, h, icon, moment, number } from "./dom.js";
import { diffView, size } from "./diff.js";
import { Markdown } from "./markdown.js";

const LONG_PROMPT = 1500;
export const hasEnded = (message) => !["queued", "in_progress"].includes(message.status);

/** Shows a message, from the list and from its events. */
export class MessageCard {
  /** `actions` are what its buttons do: stop, withdraw, change, retry, fork, open, link. */
  constructor(message, actions) {
    this.actions = actions;
    this.id = message.message_id;
    this._text = new Markdown();
    this._steps = h("div", { class: "steps" });
    this._state = h("div", { class: "state" });
    this._change = h("div", { class: "change" });
    this._failure = h("div", {});
    this._prompt = h("div", { class: "prompt" });
    this._meta = h("footer", { class: "meta" });
    this._calls = new Map();
    this.element = h("article", { class: "message", id: `message-${this.id}` },
      this._prompt,
      h("div", { class: "answer" },
        this._steps, this._text.element, this._change, this._failure, this._state),
      this._meta);
    this.update(message);
  }

  /** Show it as the API gives it. */
  update(message) {
    const before = this.message;
    this.message = message;
    this.element.dataset.status = message.status;
    this.element.setAttribute("aria-label", `Message: ${message.content.slice(0, 80)}`);
    if (before?.content !== message.content) this._showPrompt();
    if (hasEnded(message)) this._showEnd();
    else this._showState();
    this._showMeta();
  }

  /** Show what an event says. */
  apply({ kind, data }) {
    switch (kind) {
      case "queued":
        return this.update({ ...this.message, ...pick(data, "position", "starts_in_s") });
      case "claimed":
        return this._begin(data);
      case "text":
        return this._write(data);
      case "tool_called":
        return this._call(data);
      case "tool_answered":
        return this._answer(data);
      case "code_changed":
        return this._showChange(data.diff);
      default:
        return this.update(data.message);
    }
  }

  _begin({ attempt, previous_outcome: previous }) {
    this._clear();
    this._previous = previous;
    this.update({ ...this.message, status: "in_progress", attempt });
    announce(previous ? `Attempt ${attempt} begins` : "VibeCoder is working");
  }

  _clear() {
    this._text.clear();
    this._steps.replaceChildren();
    this._change.replaceChildren();
    this._failure.replaceChildren();
    this._calls.clear();
    this._written = undefined;
  }

  _write({ call, text }) {
    if (this._written !== call) this._text.clear();
    this._written = call;
    this._text.append(text);
  }

  _call(data) {
    const step = toolCall({ ...data, output: null });
    this._calls.set(data.call_id, step);
    this._steps.append(step);
  }

  _answer(data) {
    const called = this._calls.get(data.call_id);
    const step = toolCall({ ...called?.call, ...data });
    if (called) called.replaceWith(step);
    else this._steps.append(step);
  }

  _showPrompt() {
    const { content } = this.message;
    const text = h("div", { class: "prompt-text", dir: "auto" }, content);
    this._prompt.replaceChildren(text);
    if (content.length > LONG_PROMPT) {
      text.classList.add("cut");
      const more = button("Show the whole prompt", {
        text: "Show the whole prompt",
        class: "link",
        onclick: () => (text.classList.remove("cut"), more.remove()),
      });
      this._prompt.append(more);
    }
  }

  _showState() {
    const { status, attempt, position } = this.message;
    const words = status === "queued" ? queuedWords(this.message) : workingWords(attempt, this._previous);
    const actions = status === "queued"
      ? [
          action(this, "change", "Change the prompt", "edit", "Change"),
          action(this, "withdraw", "Withdraw this message", "close", "Withdraw"),
          !position && action(this, "stop", "Stop", "stop", "Stop"),
        ]
      : [action(this, "stop", "Stop", "stop", "Stop"), h("small", {}, "Esc")];
    this._state.replaceChildren(
      h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
      h("span", { class: "words" }, words), ...actions.filter(Boolean));
  }

  _showEnd() {
    const { status, reply, diff, error } = this.message;
    this._state.replaceChildren();
    if (status === "completed") {
      this._text.set(reply || "");
      this._showChange(diff);
      this._failure.replaceChildren();
      this._offerSteps();
    } else {
      this._clear();
      this._showChange("");
      this._failure.replaceChildren(failure(this, status, error));
    }
  }

  /** Offer the tool calls of a message whose events were not watched. */
  _offerSteps() {
    const { requests, uncounted_calls: unknown = 0 } = this.message.usage || { requests: 2 };
    if (this._steps.children.length || !(requests + unknown > 1)) return;
    const fold = h("details", { class: "fold tool", ontoggle: () => this._fetchSteps(fold) },
      h("summary", {}, icon("tool"), h("span", {}, "Tool calls")));
    this._steps.replaceChildren(fold);
  }

  async _fetchSteps(fold) {
    const { tool_calls: calls } = await get(`/messages/${this.id}/full`);
    const steps = calls.map(toolCall);
    if (steps.length) steps[0].open = true;
    fold.replaceWith(...steps);
  }

  _showChange(diff) {
    this._change.replaceChildren();
    if (!diff) return;
    const { revision } = this.message;
    this._change.append(h("details", { class: "fold", open: true },
      h("summary", {}, icon("code"), h("span", {}, "workflow.py"), size(diff),
        revision && h("span", { class: "chip" }, `revision ${revision}`)),
      diffView(diff)));
  }

  _showMeta() {
    const { message } = this;
    const facts = [moment(message.created_at), h("span", {}, message.model)];
    if (message.usage) {
      const { input_tokens: read = 0, output_tokens: written = 0, uncounted_calls: unknown = 0 } = message.usage;
      const more = unknown ? `, those of ${counted(unknown, "call")} unknown` : "";
      facts.push(h("span", { title: `${number(read)} tokens read, ${number(written)} written${more}` },
        `${number(read + written)}${unknown ? "+" : ""} tokens`));
    } else if (message.status === "completed") {
      facts.push(h("span", { title: "The model's server did not say how many" }, "tokens unknown"));
    }
    if (message.ended_at) {
      const seconds = (new Date(message.ended_at) - new Date(message.created_at)) / 1000;
      facts.push(h("span", { title: "From acceptance to the end" }, duration(seconds)));
    }
    if (message.attempt > 1) facts.push(h("span", {}, `${message.attempt} attempts`));
    facts.push(button(`Copy the trace id ${message.trace_id}`, {
      text: message.trace_id.slice(0, 14), class: "mono trace",
      onclick: () => copy(message.trace_id, "Trace id"),
    }));
    this._meta.replaceChildren(h("div", { class: "facts" }, facts), this._buttons());
  }

  _buttons() {
    const ended = hasEnded(this.message);
    const buttons = [
      ["open", "Details of this message", "pulse", "Details"],
      ["link", "Copy a link to this message", "link"],
      ended && this.message.status === "completed" && ["fork", "Fork the conversation from here", "fork"],
    ];
    return h("div", { class: "row" },
      buttons.filter(Boolean).map(([name, ...rest]) => action(this, name, ...rest)));
  }
}

/** Show a tool's call, folded; `output` is null while it runs. */
export function toolCall(call) {
  const { name, arguments: given = "" } = call;
  const running = call.output === null || call.output === undefined;
  const output = typeof call.output === "string" ? call.output : JSON.stringify(call.output, null, 2);
  const element = h("details", { class: running ? "fold tool running" : "fold tool" },
    h("summary", {}, icon("tool"), h("span", { class: "mono" }, name),
      h("span", { class: "muted" }, running ? "running" : firstLine(output))),
    h("h4", {}, "Arguments"), h("pre", { tabindex: "0" }, argumentsText(given)),
    !running && [h("h4", {}, "Answer"), h("pre", { tabindex: "0" }, output)]);
  element.call = call;
  return element;
}

function argumentsText(given) {
  try {
    const parsed = JSON.parse(given);
    const values = Object.entries(parsed);
    return values.length === 1 && typeof values[0][1] === "string"
      ? values[0][1]
      : JSON.stringify(parsed, null, 2);
  } catch {
    return given;
  }
}

const firstLine = (text) => text.split("\n", 1)[0].slice(0, 80);

const pick = (source, ...names) => Object.fromEntries(names.map((name) => [name, source[name]]));

function action(card, name, label, symbol, text) {
  if (!card.actions[name]) return false;
  return button(label, {
    symbol, text, class: text && name !== "open" ? "small" : "small bare", "data-action": name,
    onclick: () => card.actions[name](card),
  });
}

function queuedWords({ position, starts_in_s: seconds }) {
  const before = { 0: "Next in line", 1: "Waits for one message" };
  const words = position == null ? "Queued" : before[position] || `Waits for ${position} messages`;
  return seconds ? `${words}, starts in about ${duration(Math.max(1, Math.round(seconds)))}` : words;
}

function workingWords(attempt, previous) {
  if (attempt < 2) return "Working";
  const reason = { lost: "its worker was lost", released: "its worker stopped", conflict: "the code had changed" };
  return `Working, attempt ${attempt}: ${reason[previous] || "tried again"}`;
}

function failure(card, status, error) {
  const cancelled = status === "cancelled";
  const title = { withdrawn: "Withdrawn", cancelled: "Stopped" }[error?.code] || "No reply";
  return h("div", { class: cancelled ? "notice" : "notice wrong" },
    h("div", {}, h("strong", {}, title), h("p", {}, error?.detail || ""),
      !cancelled && error && h("code", {}, error.code)),
    action(card, "retry", "Send this prompt again", "retry", "Send again"));
}
