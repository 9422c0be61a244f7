// How the service does: for who operates it, and for everyone their own projects' part.

import { get } from "./api.js";
import { duration, h, moment, number } from "./dom.js";
import { bars, lines } from "./plot.js";
import { address } from "./route.js";

const EVERY_MS = 5000;

/** The page; it reads itself anew while it is shown. */
export class Operations {
  constructor() {
    this.element = h("div", { class: "operations" }, h("p", { class: "muted" }, "Reading …"));
    setInterval(() => this._shown && !document.hidden && this.refresh(), EVERY_MS);
  }

  show(shown) {
    this._shown = shown;
    if (shown) this.refresh();
  }

  async refresh() {
    try {
      const now = await get("/operations");
      const open = this.element.contains(document.activeElement) && document.activeElement.href;
      this.element.replaceChildren(...page(now));
      if (open) [...this.element.querySelectorAll("a")].find((each) => each.href === open)?.focus();
    } catch (error) {
      this.element.replaceChildren(h("p", { class: "notice wrong" }, error.message));
    }
  }
}

function page(now) {
  const total = (name) => now.minutes.reduce((sum, minute) => sum + minute[name], 0);
  const series = (name) => now.minutes.map((minute) => minute[name]);
  return [
    h("h1", {}, "Operations"),
    h("p", { class: "muted" }, now.scope === "service" ? "All projects of this service." : "Your projects."),
    h("div", { class: "tiles" },
      tile("Queued", number(now.queue.queued)),
      tile("Oldest waits", now.queue.oldest_s === null ? "–" : duration(now.queue.oldest_s)),
      tile("Running", number(now.queue.running)),
      now.scope === "service" && tile("Workers alive", number(now.workers.length), now.workers.length === 0),
      tile("Replies, last hour", number(total("completed"))),
      tile("Failures, last hour", number(total("failed")), total("failed") > 0)),
    h("div", { class: "plots" },
      bars("Messages ended a minute", "", [
        { name: "completed", kind: "completed", values: series("completed") },
        { name: "failed", kind: "failed", values: series("failed") },
        { name: "cancelled", kind: "cancelled", values: series("cancelled") },
      ]),
      lines("Seconds to the reply", "s", [
        { name: "median", kind: "p50", values: series("p50_s") },
        { name: "95th percentile", kind: "p95", values: series("p95_s") },
      ], latestWords(now.minutes))),
    now.scope === "service" && h("section", {}, h("h2", {}, "Workers"), workers(now.workers)),
    h("section", {}, h("h2", {}, "Failures of the last hour"), failures(now)),
  ].filter(Boolean);
}

const tile = (name, value, wrong = false) =>
  h("div", { class: wrong ? "tile wrong" : "tile" }, h("span", {}, name), h("strong", {}, value));

function latestWords(minutes) {
  const last = minutes.findLast((minute) => minute.p50_s !== null);
  if (!last) return "no replies within the last hour.";
  return `${last.minutes_ago} minutes ago half of the replies took up to ${duration(last.p50_s)}.`;
}

function workers(found) {
  if (!found.length) return h("p", { class: "notice wrong" }, "No worker is alive. Messages wait until one starts.");
  return table(["Worker", "Version", "Since", "Load"], found.map((worker) => [
    h("span", { class: "mono", title: worker.id }, `${worker.host}:${worker.pid}`),
    worker.version, moment(worker.started_at),
    h("span", { class: "load" }, h("meter", {
      min: 0, max: worker.slots, value: worker.running, "aria-label": `Load of ${worker.host}:${worker.pid}`,
    }), ` ${worker.running} of ${worker.slots}`),
  ]));
}

function failures(now) {
  if (!now.last_failures.length) return h("p", { class: "muted" }, "None.");
  return [
    h("div", { class: "row wrap" }, now.failures.map(({ code, messages }) =>
      h("span", { class: "chip" }, h("code", {}, code), ` ${number(messages)}`))),
    table(["When", "Code", "What happened", ""], now.last_failures.map((failed) => [
      moment(failed.ended_at), h("code", {}, failed.code), failed.detail,
      h("a", { href: address({ project: failed.project_id, session: failed.session_id, message: failed.message_id }) },
        "Open", h("span", { class: "hidden" }, ` message ${failed.message_id}`)),
    ])),
  ];
}

const table = (names, rows) => h("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": names[0] },
  h("table", {},
    h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
