// Projects, and the open one's sessions: the project's own, each agent's, and further ones.

import { button, h, icon } from "./dom.js";
import { address } from "./route.js";

/** Name a session for a person. */
export function sessionName(session) {
  const further = /\.(\d+)$/.exec(session.openai_session_key)?.[1];
  const where = session.node_id || "Whole workflow";
  return session.title || (further ? `${where}, ${further}` : where);
}

/** The list on the left. */
export class Sidebar {
  /** `actions`: newProject, openNode. */
  constructor(actions) {
    this._actions = actions;
    this._list = h("ul", { class: "projects" });
    this.element = h("nav", { class: "sidebar", "aria-label": "Projects and sessions" },
      h("div", { class: "row head" }, h("h2", {}, "Projects"), h("span", { class: "grow" }),
        button("New project", { symbol: "plus", text: "New", class: "small", onclick: actions.newProject })),
      this._list);
  }

  /** Show all projects, the open one with its sessions. */
  show({ projects, project, sessions, session }) {
    const shown = JSON.stringify([projects.map((each) => [each.id, each.name]), project?.id,
      project?.nodes.map((node) => node.node_id), sessions, session]);
    if (shown === this._shown) return; // nothing under a person's pointer is replaced by the same
    this._shown = shown;
    const focused = this._list.contains(document.activeElement) && document.activeElement.dataset.id;
    this._list.replaceChildren(...projects.toReversed().map((each) =>
      h("li", {}, this._project(each, each.id === project?.id),
        each.id === project?.id && this._sessions(project, sessions, session))));
    if (focused) this._list.querySelector(`[data-id="${focused}"]`)?.focus();
  }

  _project(project, open) {
    return h("a", {
      href: address({ project: project.id }), class: "project", "data-id": project.id,
      "aria-current": open && "true",
    }, project.name);
  }

  _sessions(project, sessions, current) {
    const known = project.nodes.map((node) => node.node_id);
    const of = (node) => sessions.filter((session) => session.node_id === node);
    const gone = sessions.filter((each) => each.node_id && !known.includes(each.node_id));
    return h("ul", { class: "sessions" },
      of(null).map((session) => this._session(session, current, "bubble")),
      known.map((node) => (of(node).length
        ? of(node).map((session) => this._session(session, current, "graph"))
        : this._unopened(node))),
      gone.map((session) => this._session(session, current, "graph")));
  }

  _session(session, current, symbol) {
    const { session_id: id, status, messages } = session;
    return h("li", {}, h("a", {
      href: address({ project: session.project_id, session: id }), "data-id": id,
      "aria-current": id === current && "page",
    },
      icon(symbol), h("span", { class: "grow name" }, sessionName(session)),
      status !== "idle" && h("span", { class: `dot ${status}`, title: status },
        h("span", { class: "hidden" }, status)),
      messages > 0 && h("span", { class: "count", title: `${messages} messages` }, messages)));
  }

  _unopened(node) {
    return h("li", {}, h("button", {
      type: "button", class: "unopened", "data-id": node, title: `Talk about ${node} only`,
      onclick: () => this._actions.openNode(node),
    }, icon("graph"), h("span", { class: "grow name" }, node)));
  }
}
