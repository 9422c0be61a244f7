// A model's text as a page: paragraphs, lists, headings, code. What it does not know stays text.

import { h } from "./dom.js";
import { tokens } from "./python.js";

const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*|(https?:\/\/[^\s<>()"']+[^\s<>()"'.,;:!?])/g;
const BULLET = /^\s*(?:[-*+]|\d{1,3}[.)])\s+/;

/** Shows a text that is still being written: only its last block is drawn anew. */
export class Markdown {
  constructor() {
    this.element = h("div", { class: "markdown" });
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this._rest = "";
    this._drawn = [];
  }

  /** Add to the end. */
  append(text) {
    this._rest += text;
    const cut = lastBreak(this._rest);
    const done = this._rest.slice(0, cut);
    for (const node of this._drawn) node.remove();
    this.element.append(...blocks(done));
    this._rest = this._rest.slice(cut);
    this._drawn = blocks(this._rest);
    this.element.append(...this._drawn);
  }

  /** Show another text. */
  set(text) {
    this.clear();
    this.append(text);
  }
}

/** Find where the last block begins: after an empty line that is in no code. */
function lastBreak(text) {
  let fenced = false;
  let cut = 0;
  let position = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith("```")) fenced = !fenced;
    position += line.length + 1;
    if (line.trim() === "" && !fenced && position <= text.length) cut = position;
  }
  return cut;
}

function blocks(text) {
  const found = [];
  const lines = text.split("\n");
  while (lines.length) {
    if (lines[0].trim() === "") lines.shift();
    else if (lines[0].startsWith("```")) found.push(fence(lines));
    else if (/^#{1,6} /.test(lines[0])) found.push(heading(lines.shift()));
    else if (BULLET.test(lines[0])) found.push(list(lines));
    else found.push(paragraph(lines));
  }
  return found;
}

function fence(lines) {
  const language = lines.shift().slice(3).trim();
  const end = lines.findIndex((line) => line.startsWith("```"));
  const code = lines.splice(0, end < 0 ? lines.length : end).join("\n");
  lines.shift();
  const python = ["py", "python"].includes(language);
  const shown = python
    ? tokens(code).map(([part, kind]) => (kind ? h("span", { class: `py-${kind}` }, part) : part))
    : [code];
  return h("pre", { tabindex: "0" }, h("code", {}, ...shown));
}

const heading = (line) => h("p", { class: "heading" }, ...inline(line.replace(/^#+ /, "")));

function list(lines) {
  const ordered = /^\s*\d/.test(lines[0]);
  const items = [];
  while (lines.length && lines[0].trim() !== "" && !lines[0].startsWith("```")) {
    const line = lines.shift();
    if (BULLET.test(line) || !items.length) items.push([line.replace(BULLET, "")]);
    else items.at(-1).push("\n", line.trim());
  }
  return h(ordered ? "ol" : "ul", {}, items.map((item) => h("li", {}, ...inline(item.join("")))));
}

function paragraph(lines) {
  const taken = [lines.shift()];
  while (lines.length && lines[0].trim() !== "" && !/^(```|#{1,6} )/.test(lines[0]) &&
         !BULLET.test(lines[0])) {
    taken.push(lines.shift());
  }
  return h("p", {}, ...inline(taken.join("\n")));
}

function inline(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    found.push(text.slice(end, match.index), mark(match));
    end = match.index + match[0].length;
  }
  return [...found, text.slice(end)];
}

function mark([, code, bold, italic, url]) {
  if (code) return h("code", {}, code);
  if (bold) return h("strong", {}, bold);
  if (italic) return h("em", {}, italic);
  return h("a", { href: url, target: "_blank", rel: "noreferrer noopener" }, url);
}
