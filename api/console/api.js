// Calls of the API: the key that it may want, and its problems as errors that say what to do.

const KEY = "vibecoder.key";
let asking = null;

/** What the API answered instead of what was asked for. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `The service answered ${status}.`);
    this.status = status;
    this.body = body;
  }
}

/** Call the API with the key, if there is one; ask a person for one where it is wanted. */
export async function request(path, { headers = {}, ...options } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const sent = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
    const answer = await fetch(path, { ...options, headers: sent, cache: "no-store" }).catch(unreachable);
    if (answer.status === 401) {
      await newKey(key);
      continue;
    }
    if (answer.ok) return answer;
    throw new Problem(answer.status, await answer.json().catch(() => ({})));
  }
}

function unreachable(error) {
  if (error.name === "AbortError") throw error;
  throw new Problem(0, { detail: "The service cannot be reached. Try again in a moment." });
}

/** Call the API and read the JSON that it answers; a `body` is sent as JSON. */
export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  return (await request(path, options)).json();
}

export const get = (path) => call("GET", path);

let paths = {};

/** Read which routes this service has. */
export async function learn() {
  paths = (await get("/openapi.json")).paths;
}

/** Tell whether this service has a route, named as its OpenAPI document names it. */
export const knows = (path) => path in paths;

/** Read a list to its end, page after page. */
export async function all(path) {
  const found = [];
  let next = `${path}${path.includes("?") ? "&" : "?"}limit=1000`;
  while (next) {
    const answer = await request(next);
    found.push(...(await answer.json()));
    next = /<([^>]+)>;\s*rel="?next/.exec(answer.headers.get("Link") || "")?.[1];
  }
  return found;
}

/** Set who asks a person for a key; it returns the key. */
export function onKeyWanted(ask) {
  asking = { ask, running: null };
}

/** Forget the key. */
export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/** Ask for a key, once for all calls that want one; it stays in this tab. */
async function newKey(refused) {
  if (sessionStorage.getItem(KEY) !== refused) return; // another call has got one meanwhile
  asking.running ??= asking.ask(refused !== null).finally(() => {
    asking.running = null;
  });
  sessionStorage.setItem(KEY, await asking.running);
}
