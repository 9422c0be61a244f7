// Unified diffs, coloured.

import { h } from "./dom.js";

/** Count the lines that a diff adds and removes. */
export function counts(diff) {
  const lines = bodyLines(diff);
  const those = (sign) => lines.filter((line) => line.startsWith(sign)).length;
  return { added: those("+"), removed: those("-") };
}

/** Show how much a diff changes. */
export function size(diff) {
  const { added, removed } = counts(diff);
  return h("span", { class: "diff-size" },
    added > 0 && h("span", { class: "added" }, `+${added} `),
    removed > 0 && h("span", { class: "removed" }, `−${removed}`));
}

/** Show a diff, line by line. */
export function diffView(diff, label = "Change of the code") {
  const lines = bodyLines(diff).map((line) => h("span", { class: kind(line) }, `${line}\n`));
  return h("pre", { class: "diff", tabindex: "0", role: "region", "aria-label": label },
    h("code", {}, lines));
}

function bodyLines(diff) {
  const lines = diff.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.filter((line) => !line.startsWith("--- ") && !line.startsWith("+++ "));
}

function kind(line) {
  return { "+": "added", "-": "removed", "@": "hunk", "\\": "hunk" }[line[0]] || "same";
}
