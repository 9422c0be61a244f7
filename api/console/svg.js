// Pictures that the server draws, shown as they are, in the page's light or dark.

const shown = new Set();
const BUTTONS = `
  svg { display: block; max-width: 100%; height: auto }
  :host(.wide) svg { max-width: none }
  [tabindex] { cursor: pointer; outline: none }
  [tabindex]:hover rect { stroke: var(--accent); stroke-width: 2 }
  [tabindex]:focus-visible rect { stroke: var(--accent); stroke-width: 3 }
`;

/** Take a picture into an element, in a tree of its own: its style is its own too. */
export function showPicture(host, text) {
  // the policy of this page lets no <style> be inserted; a sheet made by a script is allowed
  const [, before, style, after] = /^([^]*?)<style>([^]*?)<\/style>([^]*)$/.exec(text) || [, text, "", ""];
  const parsed = new DOMParser().parseFromString(before + after, "image/svg+xml");
  const picture = document.adoptNode(parsed.documentElement);
  const root = host.shadowRoot || host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [themed(sheet(style)), sheet(BUTTONS)];
  root.replaceChildren(picture);
  shown.add(host);
  return picture;
}

/** Let what is meant for a dark system hold when the page is dark. */
function themed(sheet) {
  const dark = document.documentElement.dataset.theme === "dark";
  for (const rule of sheet.cssRules) {
    if (!(rule instanceof CSSMediaRule)) continue;
    rule.scheme ??= /prefers-color-scheme:\s*(dark|light)/.exec(rule.media.mediaText)?.[1];
    if (rule.scheme) rule.media.mediaText = (rule.scheme === "dark") === dark ? "all" : "not all";
  }
  return sheet;
}

function sheet(css) {
  const made = new CSSStyleSheet();
  made.replaceSync(css);
  return made;
}

document.addEventListener("theme", () => {
  for (const host of shown) {
    if (host.isConnected) host.shadowRoot.adoptedStyleSheets.forEach(themed);
    else shown.delete(host);
  }
});
