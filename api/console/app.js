// The console: which project and session are open, and what is told to whom when something changes.

import { Problem, all, call, forgetKey, get, hasKey, knows, learn, onKeyWanted } from "./api.js";
import { Composer } from "./composer.js";
import { Detail } from "./detail.js";
import { announce, ask, button, costs, h, number } from "./dom.js";
import { Operations } from "./operations.js";
import { Panel } from "./panel.js";
import { go, place } from "./route.js";
import { Sidebar, sessionName } from "./sidebar.js";
import { followUps, offlineLine, starters } from "./starters.js";
import { Conversation } from "./talk.js";
import { Code, History, Picture } from "./workflow.js";

const LOOK_MS = 3000;
const YOUNG = 6;

class Console {
  constructor() {
    this.place = {};
    this.projects = [];
    this.sessions = [];
    this._channel = new BroadcastChannel("vibecoder");
    this._build();
    onKeyWanted(askForKey);
    window.addEventListener("hashchange", () => {
      this._going = this._go();
    });
    this._channel.addEventListener("message", () => this._look());
    document.addEventListener("visibilitychange", () => this._look());
    window.addEventListener("unhandledrejection", (event) => {
      if (!(event.reason instanceof Problem)) return;
      event.preventDefault(); // a person is told; it is no mistake of the page
      announce(event.reason.message, { seen: true, wrong: true });
    });
    document.addEventListener("keydown", (event) => this._pressed(event));
    setInterval(() => this._look(), LOOK_MS);
  }

  async start() {
    this._going = this._greet().then(() => this._go());
    await this._going;
  }

  // --- the parts of the page

  _build() {
    this._sidebar = new Sidebar({
      newProject: () => this._newProject(),
      openNode: (node) => this.openNode(node),
    });
    this._conversation = new Conversation(this);
    this._composer = new Composer({
      send: (prompt, how) => this._send(prompt, how),
      stop: () => this._conversation.stopRunning(),
    });
    this._first = new Composer({ send: (prompt, how) => this._beginWith(prompt, how), stop: () => {} });
    this._picture = new Picture({ openNode: (node) => this.openNode(node) });
    this._code = new Code();
    this._history = new History({
      restored: (project) => this._show(project, this.project.revision),
      openMessage: (message) => go({ message }),
    });
    this._detail = new Detail();
    this._panel = new Panel([
      ["workflow", "Workflow", this._picture],
      ["code", "Code", this._code],
      ["history", "History", this._history],
      ["message", "Message", this._detail],
    ]);
    this._operations = new Operations();
    this._heading = h("header", { class: "row heading" });
    this._followUps = h("div", { class: "row follow-ups" });
    this._offline = h("div", { class: "offline", hidden: true }, offlineLine());
    this._talk = h("section", { class: "talk", "aria-label": "Conversation" },
      this._heading, this._conversation.element, this._followUps, this._offline, this._composer.element);
    this._home = h("section", { class: "home", "aria-label": "Welcome" });
    this._main = h("main", { id: "main", tabindex: "-1", "data-view": "talk", "data-page": "none" },
      this._sidebar.element, this._talk, this._panel.element, this._home, this._operations.element);
    this._views = h("nav", { class: "views", "aria-label": "Views" },
      [["list", "Sessions", "list"], ["talk", "Talk", "bubble"], ["panel", "Workflow", "graph"]].map(
        ([view, text, symbol]) => button(text, { text, symbol, "data-view": view, onclick: () => this._view(view) })));
    document.getElementById("page").append(this._main, this._views);
    document.getElementById("theme").addEventListener("click", () => document.dispatchEvent(new Event("choose-theme")));
    document.getElementById("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address says which place is open
      this._main.focus();
    });
    document.getElementById("key").addEventListener("click", () => (forgetKey(), location.reload()));
  }

  /** Choose what is seen on a narrow screen. */
  _view(view) {
    this._main.dataset.view = view;
    for (const each of this._views.children) {
      each.setAttribute("aria-pressed", String(each.dataset.view === view));
    }
  }

  /** Ask the service which model answers. */
  async _greet() {
    const ready = await fetch("/ready").then((answer) => answer.json());
    this.offline = ready.model === "offline";
    for (const composer of [this._composer, this._first]) composer.offer(ready.models || [], ready.model);
    const badge = document.getElementById("model");
    badge.textContent = this.offline ? "offline model" : ready.model;
    badge.title = this.offline ? "A small built-in set of rules answers" : "The model that answers";
    badge.hidden = false;
    if (!ready.workers) announce("No worker is alive: messages wait until one starts.", { seen: true, wrong: true });
    await learn();
  }

  // --- where we are

  async _go() {
    const there = place();
    this._main.dataset.page = there.page;
    this._operations.show(there.page === "operations");
    document.getElementById("operations").toggleAttribute("aria-current", there.page === "operations");
    try {
      await this[{ home: "_goHome", operations: "_goOperations", message: "_goMessage", project: "_goProject" }[there.page]](there);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      announce(error.message, { seen: true, wrong: true });
      if (error.status === 404) go({ page: "home" }, { replace: true });
    }
    document.getElementById("key").hidden = !hasKey();
  }

  async _goHome() {
    this._leave();
    this.projects = await all("/projects");
    this._view("talk");
    this._main.dataset.page = "home";
    this._home.replaceChildren(
      starters(null, this.offline, (prompt, title) => this._first.submit({ prompt, title })),
      this._first.element);
    this._first.open("home");
    if (matchMedia("(min-width: 820px)").matches) this._first.focus();
    this._showSidebar();
    document.title = "VibeCoder";
  }

  async _goOperations() {
    document.title = "Operations, VibeCoder";
  }

  async _goMessage({ message }) {
    const { session_id: session, project_id: project } = await get(`/messages/${message}`);
    go({ project, session, message }, { replace: true });
  }

  async _goProject({ project, session, message }) {
    if (project !== this.project?.id) await this._openProject(project);
    if (!session) {
      const found = await call("POST", `/projects/${project}/sessions`);
      return go({ project, session: found.session_id }, { replace: true });
    }
    if (session !== this.session?.session_id) await this._openSession(session);
    this._conversation.select(message);
    this._detail.set({ project, session, message });
    if (message) {
      this._panel.open("message");
      this._view("panel");
    } else if (this._panel.opened === "message") {
      this._panel.open("workflow");
      this._view("talk");
    }
  }

  _leave() {
    this.project = null;
    this.session = null;
    this.sessions = [];
    this._conversation.close();
  }

  async _openProject(id) {
    this._leave();
    const [project, sessions, projects] = await Promise.all([
      get(`/projects/${id}`), all(`/projects/${id}/sessions`), all("/projects"),
    ]);
    Object.assign(this, { project, sessions, projects });
    this._give(project, null);
  }

  async _openSession(id) {
    let session = this.sessions.find((each) => each.session_id === id);
    if (!session) {
      session = await get(`/sessions/${id}`);
      this.sessions = await all(`/projects/${this.project.id}/sessions`);
    }
    this.session = session;
    this._composer.open(id);
    this._view("talk");
    this._showSidebar();
    this._showHeading();
    this._conversation.suggest(starters(session, this.offline, (prompt) => this.send(prompt)));
    await this._conversation.open(id);
    this._showFollowUps();
    if (matchMedia("(min-width: 820px)").matches) this._composer.focus();
    document.title = `${sessionName(session)}, ${this.project.name}, VibeCoder`;
  }

  // --- what is shown of it

  _showSidebar() {
    this._sidebar.show({
      projects: this.projects, project: this.project, sessions: this.sessions,
      session: this.session?.session_id,
    });
  }

  _showHeading() {
    const { session, project } = this;
    this._heading.replaceChildren(
      h("div", { class: "grow titles" },
        h("h1", {}, sessionName(session)),
        h("button", { type: "button", class: "link project-name", title: "Name, instructions, delete", onclick: () => this._settings() }, project.name)),
      button("Rename this session", { symbol: "edit", class: "small bare", onclick: () => this._rename() }),
      button("New conversation on the same place", { symbol: "plus", class: "small bare", onclick: () => this._newSession() }),
      button("Forget this conversation", { symbol: "trash", class: "small bare", onclick: () => this._forget() }));
  }

  _showFollowUps(busy = false) {
    const count = this._conversation.count;
    const offered = busy || count === 0 || count > YOUNG || !this.project
      ? [] : followUps(this.session, this.project.nodes, (prompt) => this.send(prompt));
    this._followUps.replaceChildren(...offered);
    this._offline.hidden = !this.offline || count === 0;
  }

  /** Take in a project whose code may have changed after the revision `since`. */
  _show(project, since) {
    this.project = project;
    this._give(project, since < project.revision ? since : null);
    this._showSidebar();
    this._showFollowUps(this._busy);
  }

  _give(project, since) {
    for (const page of [this._picture, this._code, this._history]) page.set(project, since);
    this._panel.refresh();
  }

  // --- what happens

  /** Hear which messages have not ended. */
  busy(unfinished) {
    this._busy = unfinished.length > 0;
    this._composer.busy(unfinished.length);
    this._showFollowUps(this._busy);
  }

  /** Hear that a message has changed the code. */
  async codeChanged(revision) {
    const before = this.project;
    if (!before || revision <= before.revision) return;
    const project = await get(`/projects/${before.id}`);
    if (project.id === this.project?.id && project.revision > this.project.revision) {
      this._show(project, project.revision - 1);
    }
  }

  /** Hear that something was said, here or as heard from the service. */
  spoken({ here = false } = {}) {
    if (here) this._channel.postMessage("spoken");
    this._detail.set({ ...place() });
    if (this._panel.opened === "message") this._panel.refresh();
    this._look();
  }

  /** Look what others, or this person in another window, have done meanwhile. */
  async _look() {
    const { project, session } = this;
    this._again = this._looking;
    if (document.hidden || !project || !session || this._looking) return;
    this._looking = true;
    try {
      const sessions = await all(`/projects/${project.id}/sessions`);
      const revisions = await get(`/projects/${project.id}/revisions?after=${this.project.revision}&limit=1000`);
      if (project.id !== this.project?.id) return;
      this.sessions = sessions;
      this._showSidebar();
      const now = sessions.find((each) => each.session_id === this.session?.session_id);
      if (now && !this._conversation.agrees(now)) await this._conversation.refresh();
      if (revisions.length) await this.codeChanged(revisions.at(-1).number);
    } catch (error) {
      if (error.status === 404) go({ page: "home" });
    } finally {
      this._looking = false;
      if (this._again) this._look(); // asked for meanwhile: what was read may be too old
    }
  }

  _pressed(event) {
    const writing = /^(TEXTAREA|INPUT|SELECT)$/.test(event.target.tagName) || event.target.closest?.("dialog");
    if (writing) return;
    if (event.key === "/") {
      event.preventDefault();
      this._composer.focus();
    } else if (event.key === "Escape") {
      this._conversation.stopRunning();
    }
  }

  // --- what a person does

  /** Send a prompt that was not typed. */
  async send(prompt) {
    await this._composer.submit({ prompt });
  }

  openMessage(there) {
    this._panel.open("message");
    this._view("panel");
    go(there);
  }

  async openSession(session) {
    go({ project: session.project_id, session: session.session_id });
  }

  async openNode(node) {
    await this._try(async () => {
      const session = await call("POST", `/projects/${this.project.id}/sessions`, { node_id: node });
      await this.openSession(session);
    });
  }

  /** Begin a project with its first prompt. */
  async _beginWith(prompt, { title = firstWords(prompt), ...how }) {
    const project = await call("POST", "/projects", { name: title });
    const { session_id: session } = await call("POST", `/projects/${project.id}/sessions`);
    go({ project: project.id, session });
    await this._send(prompt, how);
  }

  /** Send a prompt to the open session, once it is open. */
  async _send(prompt, how) {
    await this._going;
    await this._conversation.send(prompt, how);
  }

  async _newProject() {
    const asked = await ask("New project", {
      fields: [{ name: "name", label: "Name", value: "" },
        { name: "instructions", label: "What VibeCoder heeds in it", lines: 3, required: false }],
      action: "Begin",
    });
    if (asked) await this._try(async () => go({ project: (await call("POST", "/projects", asked)).id }));
  }

  async _settings() {
    const { project } = this;
    const text = await spent(project);
    const asked = await ask("Project", {
      text,
      fields: [{ name: "name", label: "Name", value: project.name },
        { name: "instructions", label: "What VibeCoder heeds in it", value: project.instructions, lines: 4, required: false },
        { name: "remove", label: "Delete the project and all its conversations", type: "checkbox", required: false }],
    });
    if (!asked) return;
    await this._try(async () => {
      if (asked.remove) {
        await call("DELETE", `/projects/${project.id}`);
        go({ page: "home" });
      } else {
        const { name, instructions } = asked;
        this._show(await call("PATCH", `/projects/${project.id}`, { name, instructions }), project.revision);
        this.projects = await all("/projects");
        this._showSidebar();
        this._showHeading();
      }
    });
  }

  async _rename() {
    const asked = await ask("Rename this session", { fields: [{ name: "title", label: "Title", value: this.session.title || "" }] });
    if (!asked) return;
    await this._try(async () => {
      this.session = await call("PATCH", `/sessions/${this.session.session_id}`, { title: asked.title });
      this._showHeading();
      await this._look();
    });
  }

  async _newSession() {
    await this._try(async () => {
      const body = { new: true, ...(this.session.node_id && { node_id: this.session.node_id }) };
      await this.openSession(await call("POST", `/projects/${this.project.id}/sessions`, body));
    });
  }

  async _forget() {
    const sure = await ask("Forget this conversation?", {
      text: "VibeCoder remembers nothing of it then. The code stays as it is.", action: "Forget", danger: true,
    });
    if (!sure) return;
    await this._try(async () => {
      await call("DELETE", `/sessions/${this.session.session_id}`);
      await this._conversation.refresh();
      this.spoken({ here: true });
      this._showFollowUps();
    });
  }

  async _try(action) {
    try {
      await action();
    } catch (error) {
      announce(error.message, { seen: true, wrong: true });
    }
  }
}

/** Say what a project has cost, if the service counts it. */
async function spent(project) {
  if (!knows("/projects/{project_id}/usage")) return "";
  const { totals } = await get(`/projects/${project.id}/usage`);
  return `${number(totals.calls)} model calls, ${costs(totals)}`;
}

const firstWords = (prompt) =>
  prompt.trim().length <= 40 ? prompt.trim() : `${prompt.trim().slice(0, 40).replace(/\s+\S*$/, "")} …`;

async function askForKey(refused) {
  for (;;) {
    const asked = await ask("This service wants an API key", {
      fields: [{ name: "key", label: "API key", type: "password", hint: "It stays in this tab and is forgotten with it." }],
      text: refused ? "The key that was given is not known." : "Your operator gives you one.",
      action: "Use it",
    });
    if (asked?.key) return asked.key;
  }
}

await new Console().start();
