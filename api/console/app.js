// The console: which project and session are open, and what is told to whom when something changes.

import { Problem, all, call, get, learn, onKeyWanted } from "./api.js";
import { Composer } from "./composer.js";
import { Detail } from "./detail.js";
import { askForKey, changeProject, forgetSession, newProject, renameSession } from "./dialogs.js";
import { announce, button, h } from "./dom.js";
import { Frame } from "./frame.js";
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
    window.addEventListener("popstate", () => { // a question belongs to the page that it was asked on
      for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
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
    this._frame = new Frame([
      this._sidebar.element, this._talk, this._panel.element, this._home, this._operations.element,
    ]);
  }

  /** Ask the service which model answers. */
  async _greet() {
    const ready = await fetch("/ready").then((answer) => answer.json());
    this.offline = ready.model === "offline";
    for (const composer of [this._composer, this._first]) composer.offer(ready.models || [], ready.model);
    this._frame.model(ready.model, this.offline);
    if (!ready.workers) announce("No worker is alive: messages wait until one starts.", { seen: true, wrong: true });
    await learn();
  }

  // --- where we are

  async _go() {
    const there = place();
    this._frame.page(there.page);
    this._operations.show(there.page === "operations");
    const going = {
      home: () => this._goHome(),
      operations: () => this._goOperations(),
      message: () => this._goMessage(there),
      project: () => this._goProject(there),
    };
    try {
      await going[there.page]();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      announce(error.message, { seen: true, wrong: true });
      if (error.status === 404) go({ page: "home" }, { replace: true });
    }
    this._frame.key();
  }

  async _goHome() {
    this._leave();
    this.projects = await all("/projects");
    this._frame.view("talk");
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
    if (project !== this.project?.id || session !== this.session?.session_id) this._composer.close();
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
      this._frame.view("panel");
    } else if (this._panel.opened === "message") {
      this._panel.open("workflow");
      this._frame.view("talk");
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
    this._frame.view("talk");
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
    this._frame.view("panel");
    go(there);
  }

  openSession(session) {
    go({ project: session.project_id, session: session.session_id });
  }

  async openNode(node) {
    this.openSession(await call("POST", `/projects/${this.project.id}/sessions`, { node_id: node }));
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
    const project = await newProject();
    if (project) go({ project: project.id });
  }

  async _settings() {
    const changed = await changeProject(this.project);
    if (changed?.status === "deleted") {
      go({ page: "home" });
    } else if (changed) {
      this.projects = await all("/projects");
      this._show(changed, changed.revision);
      this._showHeading();
    }
  }

  async _rename() {
    const renamed = await renameSession(this.session);
    if (!renamed) return;
    this.session = renamed;
    this._showHeading();
    await this._look();
  }

  async _newSession() {
    const body = { new: true, ...(this.session.node_id && { node_id: this.session.node_id }) };
    this.openSession(await call("POST", `/projects/${this.project.id}/sessions`, body));
  }

  async _forget() {
    if (!(await forgetSession(this.session))) return;
    await this._conversation.refresh();
    this.spoken({ here: true });
    this._showFollowUps();
  }
}

const firstWords = (prompt) =>
  prompt.trim().length <= 40 ? prompt.trim() : `${prompt.trim().slice(0, 40).replace(/\s+\S*$/, "")} …`;

await new Console().start();
