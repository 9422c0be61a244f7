// Python in colours: a tokenizer that knows what a reader looks for.

import { h } from "./dom.js";

const KEYWORDS =
  "and as assert async await break class continue def del elif else except finally for from " +
  "global if import in is lambda nonlocal not or pass raise return try while with yield match case";
const CONSTANTS = "True False None self";
const TOKENS = new RegExp(
  [
    /(?<comment>#[^\n]*)/,
    /(?<string>(?:(?<!\w)[rbfuRBFU]{1,2})?(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/,
    /(?<decorator>(?<=^[ \t]*)@[\w.]+)/,
    /(?<number>\b\d[\w.]*)/,
    /(?<word>[^\W\d]\w*)/,
  ].map((pattern) => pattern.source).join("|"),
  "gmu",
);
const WORDS = new Map([
  ...KEYWORDS.split(" ").map((word) => [word, "keyword"]),
  ...CONSTANTS.split(" ").map((word) => [word, "constant"]),
]);

/** Split Python into `[text, kind]`; together the texts are the code. */
export function tokens(code) {
  const found = [];
  let end = 0;
  for (const match of code.matchAll(TOKENS)) {
    if (match.index > end) found.push([code.slice(end, match.index), ""]);
    end = match.index + match[0].length;
    found.push([match[0], kind(match, code, end)]);
  }
  if (end < code.length) found.push([code.slice(end), ""]);
  return found;
}

function kind({ groups, 0: text, index }, code, end) {
  const named = Object.keys(groups).find((name) => groups[name] !== undefined);
  if (named !== "word") return named;
  if (WORDS.has(text)) return WORDS.get(text);
  if (/\b(?:def|class)\s+$/.test(code.slice(Math.max(0, index - 20), index))) return "definition";
  return code[end] === "(" ? "call" : "";
}

/** Show Python with numbered lines; `marked` are the numbers of lines that stand out. */
export function pythonView(code, { marked = new Set(), label = "The code" } = {}) {
  const lines = [[]];
  for (const [text, named] of tokens(code.replace(/\n$/, ""))) {
    text.split("\n").forEach((part, n) => {
      if (n) lines.push([]);
      if (part) lines.at(-1).push(named ? h("span", { class: `py-${named}` }, part) : part);
    });
  }
  const rows = lines.map((line, n) =>
    h("span", { class: marked.has(n + 1) ? "line marked" : "line", "data-line": n + 1 },
      ...line, "\n"));
  return h("pre", { class: "python", tabindex: "0", role: "region", "aria-label": label },
    h("code", {}, rows));
}
