// What a person is asked before something is made, changed or forgotten; null: they left it.

import { call, get, knows } from "./api.js";
import { ask, costs, counted, number } from "./dom.js";

const INSTRUCTIONS = { name: "instructions", label: "What VibeCoder heeds in it", lines: 4, required: false };

/** Make a project. */
export async function newProject() {
  const asked = await ask("New project", {
    fields: [{ name: "name", label: "Name" }, INSTRUCTIONS], action: "Begin",
  });
  return asked && call("POST", "/projects", asked);
}

/** Change a project, or delete it: then it says so in `status`. */
export async function changeProject(project) {
  const asked = await ask("Project", {
    text: await spent(project),
    fields: [
      { name: "name", label: "Name", value: project.name },
      { ...INSTRUCTIONS, value: project.instructions },
      { name: "remove", label: "Delete the project and all its conversations", type: "checkbox", required: false },
    ],
  });
  if (!asked) return null;
  const { remove, ...changes } = asked;
  const path = `/projects/${project.id}`;
  return remove ? call("DELETE", path) : call("PATCH", path, changes);
}

/** Say what a project has cost, if the service counts it. */
async function spent(project) {
  if (!knows("/projects/{project_id}/usage")) return "";
  const { totals } = await get(`/projects/${project.id}/usage`);
  const { calls, uncounted_calls: unknown, input_tokens: read, output_tokens: written } = totals;
  const more = unknown ? `, those of ${counted(unknown, "call")} unknown` : "";
  return `${counted(calls, "model call")}, ${number(read)} tokens read, ${number(written)} written${more}: ${costs(totals)}`;
}

/** Give a session another title. */
export async function renameSession(session) {
  const asked = await ask("Rename this session", {
    fields: [{ name: "title", label: "Title", value: session.title || "" }],
  });
  return asked && call("PATCH", `/sessions/${session.session_id}`, asked);
}

/** Let VibeCoder forget a conversation. */
export async function forgetSession(session) {
  const sure = await ask("Forget this conversation?", {
    text: "VibeCoder remembers nothing of it then. The code stays as it is.", action: "Forget", danger: true,
  });
  return sure && call("DELETE", `/sessions/${session.session_id}`);
}

/** Ask for a key until there is one. */
export async function askForKey(refused) {
  for (;;) {
    const asked = await ask("This service wants an API key", {
      fields: [{ name: "key", label: "API key", type: "password", hint: "It stays in this tab and is forgotten with it." }],
      text: refused ? "The key that was given is not known." : "Your operator gives you one.",
      action: "Use it",
    });
    if (asked?.key) return asked.key;
  }
}
