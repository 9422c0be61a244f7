// The workflow: its picture, its code, and the history of both.

import { all, call, request } from "./api.js";
import { announce, ask, button, h, moment } from "./dom.js";
import { diffView, size } from "./diff.js";
import { pythonView } from "./python.js";
import { showPicture } from "./svg.js";

const LARGER = 1.2;

/** The picture; a click on an agent opens its session. */
export class Picture {
  constructor({ openNode }) {
    this._openNode = openNode;
    this._host = h("div", { class: "picture" });
    this._legend = h("p", { class: "legend muted" });
    this.element = h("div", { class: "page" }, this._host, this._legend);
    this.show = () => this._draw();
  }

  /** Show a project; what changed after the revision `since` is marked. */
  set(project, since) {
    this._project = project;
    this._since = since;
  }

  async _draw() {
    const project = this._project;
    if (!project) return;
    const drawn = `${project.id} ${project.revision} ${this._since}`;
    if (drawn === this._drawn) return;
    this._drawn = drawn;
    const query = this._since ? `?since=${this._since}` : "";
    const text = await (await request(`/projects/${project.id}/workflow.svg${query}`)).text();
    if (drawn !== this._drawn) return;
    const picture = showPicture(this._host, text);
    picture.setAttribute("role", "group");
    picture.style.width = `${LARGER * picture.getAttribute("width")}px`;
    for (const node of picture.querySelectorAll("[data-node]")) this._button(node, project.nodes);
    this._legend.textContent = this._since
      ? `Marked: what changed after revision ${this._since}.`
      : project.nodes.length ? "Click an agent to talk about it alone." : "";
  }

  _button(node, nodes) {
    const { node: id } = node.dataset;
    const { name } = nodes.find((each) => each.node_id === id) || { name: id };
    const mark = node.querySelector(".mark")?.textContent;
    node.setAttribute("role", "button");
    node.setAttribute("tabindex", "0");
    node.setAttribute("aria-label", `${name}${mark ? `, ${mark}` : ""}: open its session`);
    node.addEventListener("click", () => this._openNode(id));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this._openNode(id);
    });
  }
}

/** The code with its problems, and the lines marked that the last change added. */
export class Code {
  constructor() {
    this._code = h("div", {});
    this._problems = h("ul", { class: "problems", "aria-label": "Problems of the code", hidden: true });
    this._about = h("span", { class: "muted" });
    this.element = h("div", { class: "page code-page" },
      h("div", { class: "row bar" }, h("span", { class: "mono" }, "workflow.py"), this._about,
        h("span", { class: "grow" }),
        button("Copy the code", { symbol: "copy", class: "small bare", onclick: () => this._copy() }),
        button("Download workflow.py, a program to talk to", {
          symbol: "download", text: "Download", class: "small", onclick: () => this._download(),
        })),
      this._problems, this._code);
    this.show = () => this._draw();
  }

  set(project, since) {
    this._project = project;
    this._since = since;
  }

  async _draw() {
    const project = this._project;
    const shown = project && `${project.id} ${project.revision} ${this._since}`;
    if (!project || shown === this._shown) return;
    this._shown = shown;
    const diff = this._since ? (await this._revision(project)).diff : "";
    if (shown !== this._shown) return;
    this._about.textContent = `revision ${project.revision}`;
    this._code.replaceChildren(pythonView(project.code, { marked: addedLines(diff), label: "workflow.py" }));
    this._problems.hidden = project.diagnostics.length === 0;
    this._problems.replaceChildren(...project.diagnostics.map((problem) => this._problem(problem)));
    this._code.querySelector(".marked")?.scrollIntoView({ block: "nearest" });
  }

  _problem({ line, severity, message }) {
    const place = button(`Line ${line}`, { text: `Line ${line}`, class: "link", onclick: () => this._goTo(line) });
    return h("li", { class: severity }, place, h("span", {}, message));
  }

  _goTo(line) {
    this._code.querySelector(`[data-line="${line}"]`)?.scrollIntoView({ block: "center" });
  }

  async _revision(project) {
    return (await request(`/projects/${project.id}/revisions/${project.revision}`)).json();
  }

  async _copy() {
    await navigator.clipboard.writeText(this._project.code);
    announce("Code copied", { seen: true });
  }

  async _download() {
    const answer = await request(`/projects/${this._project.id}/code?program=true`);
    const url = URL.createObjectURL(await answer.blob());
    h("a", { href: url, download: "workflow.py" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }
}

/** Tell which lines of the new code a diff added. */
export function addedLines(diff) {
  const added = new Set();
  let line = 0;
  for (const text of diff.split("\n").slice(2)) {
    const hunk = /^@@ -\S+ \+(\d+)/.exec(text);
    if (hunk) line = Number(hunk[1]);
    else if (text.startsWith("+")) added.add(line++);
    else if (text.startsWith(" ")) line += 1;
  }
  return added;
}

/** The revisions, newest first. */
export class History {
  /** `restored(project)`, `openMessage(id)`. */
  constructor({ restored, openMessage }) {
    this._restored = restored;
    this._openMessage = openMessage;
    this._list = h("ol", { class: "history" });
    this.element = h("div", { class: "page" }, this._list);
    this.show = () => this._draw();
  }

  set(project) {
    if (this._project?.id !== project.id) {
      this._list.replaceChildren();
      this._known = 0;
    }
    this._project = project;
  }

  async _draw() {
    const project = this._project;
    if (!project || this._known === project.revision) return;
    const found = await all(`/projects/${project.id}/revisions?after=${this._known}`);
    for (const revision of found) {
      if (project !== this._project || revision.number <= this._known) continue;
      this._known = revision.number;
      this._list.prepend(this._revision(revision));
    }
    for (const button of this._list.querySelectorAll("[data-restore]")) {
      button.hidden = Number(button.dataset.restore) === this._known;
    }
  }

  _revision(revision) {
    const { number, message_id: message, created_at: at, diff } = revision;
    return h("li", {}, h("details", { class: "fold" },
      h("summary", {}, h("strong", {}, `Revision ${number}`), size(diff),
        h("span", { class: "grow" }), moment(at)),
      h("div", { class: "row" },
        message
          ? button("Open the message that made it", { text: "Open its message", class: "link", onclick: () => this._openMessage(message) })
          : h("span", { class: "muted" }, number === 1 ? "The beginning" : "A person's own edit"),
        h("span", { class: "grow" }),
        button(`Restore revision ${number}`, {
          symbol: "retry", text: "Restore", class: "small", "data-restore": number,
          onclick: () => this._restore(number),
        })),
      diff ? diffView(diff, `Change of revision ${number}`) : pythonView(revision.code, { label: `Code of revision ${number}` })));
  }

  async _restore(number) {
    const sure = await ask(`Restore revision ${number}?`, {
      text: "Its code becomes the newest revision. Nothing between is lost.", action: "Restore",
    });
    if (!sure) return;
    try {
      this._restored(await call("POST", `/projects/${this._project.id}/revisions/${number}/restore`));
      announce(`Revision ${number} is restored`, { seen: true });
    } catch (error) {
      announce(error.message, { seen: true, wrong: true });
    }
  }
}
