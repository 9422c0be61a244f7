// Places in the console, each with an address that can be sent to a colleague.

const PARTS = { projects: "project", sessions: "session", messages: "message" };

/** Read the place that an address names. */
export function place(hash = location.hash) {
  const [first, ...rest] = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (first === "operations") return { page: "operations" };
  const parts = [first, ...rest];
  const found = {};
  for (let n = 0; n + 1 < parts.length; n += 2) {
    if (PARTS[parts[n]]) found[PARTS[parts[n]]] = parts[n + 1];
  }
  if (found.project) return { page: "project", ...found };
  return found.message ? { page: "message", ...found } : { page: "home" };
}

/** Write the address of a place. */
export function address({ page, project, session, message } = {}) {
  if (page === "operations") return "#/operations";
  let written = "#/";
  if (project) written += `projects/${project}`;
  if (session) written += `/sessions/${session}`;
  if (message) written += `${project ? "/" : ""}messages/${message}`;
  return written;
}

/** Go there; `replace`: without a step in the browser's history. */
export function go(there, { replace = false } = {}) {
  const hash = address(there);
  if (hash === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
  window.dispatchEvent(new HashChangeEvent("hashchange")); // at once, not in a moment
}

/** Write the whole address, for a colleague. */
export const link = (there) => new URL(address(there), location.href).href;
