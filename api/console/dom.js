// Elements, built without markup: what comes from outside is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `h("button", {class: "x", onclick: f, disabled: true}, "text", child)`. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Make a button that shows an icon, and a text if it is given one. */
export function button(label, { symbol, text, onclick, ...attributes }) {
  const shown = [symbol && icon(symbol), text && h("span", {}, text)];
  const named = text === label ? {} : { "aria-label": label, title: label };
  return h("button", { type: "button", onclick, ...named, ...attributes }, shown);
}

const PATHS = {
  arrow: "M5 12h14M13 6l6 6-6 6",
  book: "M5 4h6a2 2 0 0 1 2 2v14a2 2 0 0 0-2-2H5zM19 4h-4a2 2 0 0 0-2 2v14a2 2 0 0 1 2-2h4z",
  bubble: "M4 5h16v11H10l-5 4v-4H4z",
  check: "M5 12l5 5 9-10",
  close: "M6 6l12 12M18 6L6 18",
  code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  contrast: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  down: "M12 5v14M6 13l6 6 6-6",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  fork: "M7 4v6a4 4 0 0 0 4 4h2a4 4 0 0 1 4 4v2M7 10v10M7 4l-3 3M7 4l3 3",
  graph: "M9 3h6v5H9zM4 16h6v5H4zM14 16h6v5h-6zM12 8v4M7 16v-2a2 2 0 0 1 2-2h6a2 2 0 0 1 2 2v2",
  key: "M14 10a4 4 0 1 0-3 3l2 2h2v2h2v2h3v-3z",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  list: "M8 6h12M8 12h12M8 18h12M4 6h0M4 12h0M4 18h0",
  plus: "M12 5v14M5 12h14",
  pulse: "M3 12h4l3-8 4 16 3-8h4",
  retry: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  send: "M4 12l16-8-6 16-3-6z",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  stop: "M7 7h10v10H7z",
  tool: "M14 6a4 4 0 0 1 5-1l-3 3 1 2 2 1 3-3a5 5 0 0 1-7 5l-7 7-3-3 7-7a5 5 0 0 1 2-4z",
  trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
};

/** Draw an icon; it says nothing to a screen reader. */
export function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
    s("path", { d: PATHS[name] }));
}

/** Say something to a screen reader, and to the eye if it is to be seen. */
export function announce(text, { seen = false, wrong = false } = {}) {
  document.getElementById("announcer").textContent = text;
  if (!seen) return;
  const toast = h("div", { class: wrong ? "toast wrong" : "toast" }, text);
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), wrong ? 8000 : 2500);
}

/** Put a text on the clipboard. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied`, { seen: true });
  } catch {
    announce(`The browser does not let this page copy. ${what}: ${text}`, { seen: true });
  }
}

/** Ask in a dialog; resolve to the form's values, or to null if it was left. */
export function ask(title, { fields = [], text = "", action = "Save", danger = false }) {
  return new Promise((resolve) => {
    const inputs = fields.map(field);
    const form = h("form", { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      text && h("p", {}, text),
      inputs.map(([label]) => label),
      h("div", { class: "row end" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", value: "ok", class: danger ? "danger" : "primary" }, action)));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(inputs.map(([, name, read]) => [name, read()]));
      resolve(dialog.returnValue === "ok" ? values : null);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function field({ name, label, value = "", type = "text", lines, required = true, hint }) {
  const common = { name, required, autocomplete: "off" };
  let input;
  if (lines) input = h("textarea", { ...common, rows: lines });
  else input = h("input", { ...common, type });
  if (type === "checkbox") input.checked = Boolean(value);
  else input.value = value;
  const element = h("label", { class: type === "checkbox" ? "field check" : "field" },
    h("span", {}, label), input, hint && h("small", {}, hint));
  return [element, name, () => (type === "checkbox" ? input.checked : input.value.trim())];
}

/** Show a moment: the time, and the date if it is not today. */
export function moment(iso) {
  const when = new Date(iso);
  const today = when.toDateString() === new Date().toDateString();
  const shown = today
    ? when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: iso, title: when.toLocaleString() }, shown);
}

/** Say how long something took, in few letters. */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.5) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${Math.round(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Say what calls of models cost; what has no price is told, and not counted as nothing. */
export function costs({ calls, cost, unpriced_calls: unpriced }) {
  const without = unpriced && `${counted(unpriced, "model call")} without a known price`;
  if (unpriced && unpriced === calls) return without;
  return `$${Number(cost) ? Number(cost).toFixed(4) : 0}${unpriced ? `, and ${without}` : ""}`;
}

/** Write how many there are of something. */
export const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Write a number for a person. */
export function number(value) {
  return value.toLocaleString("en");
}
