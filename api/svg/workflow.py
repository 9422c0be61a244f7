"""The workflow as an SVG picture: agents as boxes with their tools, handoffs as arrows."""

import html
import re
import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from shared.workflow.model import Edge, Node, Workflow

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDTH, _HEAD, _LINE = 216, 38, 17
_GAP_X, _GAP_Y, _MARGIN = 36, 56, 20
_MOST_IN_A_ROW = 4
_NOTES_WIDTH, _MOST_NOTES = 480, 6
# fields that the picture shows as they are written
_DETAILS = frozenset({"instructions", "model"})
_INSIDE = _WIDTH - 28
_MONOSPACE, _BOLD = 7.0, 9.5
_ASIDE, _LABEL, _LONGEST_TITLE = 26, 26, 300
_CHARACTER = 6.3
"""Pixels of a usual character; `_measure` says how much wider or narrower others are."""
_WIDE_LETTERS, _NARROW_LETTERS = frozenset("mwMW@%&—…"), frozenset("iljtfrI.,:;'|!()[] ")


@dataclass(frozen=True)
class _Box:
    node: Node
    x: int
    y: int
    lines: tuple[tuple[str, str], ...]

    @property
    def height(self) -> int:
        return _HEAD + _LINE * len(self.lines) + (10 if self.lines else 0)

    @property
    def middle(self) -> int:
        return self.x + _WIDTH // 2


def draw(workflow: Workflow, *, title: str, since: Workflow | None = None) -> str:
    """Draw the workflow, with handoffs leading downwards where they can.

    An agent that another uses as a tool is at the end of a dashed arrow with the tool's name. What
    is not as it was in the earlier workflow is marked as `new` or `changed`. Parts that only a run
    decides are listed below.
    """
    boxes = _place(workflow)
    notes = _notes(workflow)
    width = max((box.x + _WIDTH for box in boxes.values()), default=220) + _MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=44) + _MARGIN
    width = max(width, _NOTES_WIDTH) if notes else width
    known = set(since.edges if since else workflow.edges)
    earlier = {node.node_id: node for node in since.nodes} if since else None
    parts = [
        _arrow(edge, boxes[edge.source], boxes[edge.target], new=edge not in known)
        for edge in workflow.edges
        if edge.source in boxes and edge.target in boxes
    ]
    parts += [_box(box, _mark(box.node, earlier)) for box in boxes.values()]
    if not boxes:
        parts.append(f'<text x="{_MARGIN}" y="{_MARGIN + 16}">No agents yet.</text>')
    for note in notes:
        height += _LINE
        text = fit(note, (width - 2 * _MARGIN) / _CHARACTER)
        parts.append(f'<text class="note" x="{_MARGIN}" y="{height - _LINE // 2}">{text}</text>')
    return _FRAME.format(
        width=width,
        height=height + (_MARGIN // 2 if notes else 0),
        title=escape(title),
        style=_STYLE,
        heads="".join(_HEAD_OF_ARROW.format(id=name) for name in ("head", "head-new")),
        body="\n".join(parts),
    )


def _notes(workflow: Workflow) -> list[str]:
    """Say in lines what of agents and edges is not resolved."""
    found = [item for item in workflow.unresolved if item.field not in _DETAILS]
    lines = [
        f"line {item.line}, {item.node_id or 'an agent'}, {item.field}: {item.text}"
        for item in found[:_MOST_NOTES]
    ]
    if len(found) > _MOST_NOTES:
        lines.append(f"... and {len(found) - _MOST_NOTES} more")
    return ["Not resolved from the code:", *lines] if lines else []


_FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img" aria-label="Workflow {title}">
<title>{title}</title>
<style>{style}</style>
<defs>{heads}</defs>
{body}
</svg>
"""

_HEAD_OF_ARROW = """<marker id="{id}" viewBox="0 0 10 10" refX="9" refY="5" \
markerWidth="7" markerHeight="7" orient="auto"><path class="{id}" d="M0 0 10 5 0 10z"/></marker>"""

_STYLE = """
text{font:11.5px system-ui,sans-serif;fill:#59636e}
.name{font-size:14px;font-weight:600;fill:#1f2328}.mark{font-size:10px;font-weight:600}
rect{fill:#fff;stroke:#c9cfd6;rx:9}.tool{font-family:ui-monospace,monospace}
.edge{fill:none;stroke:#8c959f;stroke-width:1.5;marker-end:url(#head)}.head{fill:#8c959f}
.new rect{stroke:#1a7f37;stroke-width:2}.new .mark{fill:#1a7f37}
.edge.tool{stroke-dasharray:5 4}.label{font-size:10px;text-anchor:middle;paint-order:stroke;
stroke:#fff;stroke-width:3}.where{font-style:italic}.note{font-size:11px}
.edge.new{stroke:#1a7f37;marker-end:url(#head-new)}.head-new{fill:#1a7f37}
.changed rect{stroke:#bc6c00;stroke-width:2}.changed .mark{fill:#9a5800}
@media (prefers-color-scheme:dark){text{fill:#9da7b1}.name{fill:#f0f3f6}
rect{fill:#1c2127;stroke:#454c55}.edge{stroke:#7d8793}.head{fill:#7d8793}
.label{stroke:#0d1117}.new rect,.edge.new{stroke:#3fb950}
.new .mark{fill:#56d364}.head-new{fill:#3fb950}
.changed rect{stroke:#d29922}.changed .mark{fill:#e3b341}}
"""


def _place(workflow: Workflow) -> dict[str, _Box]:
    rows = [part for row in _rows(workflow) for part in _split(row)]
    widest = max((len(row) for row in rows), default=0)
    sources: dict[str, list[str]] = {}
    shown: dict[str, set[str]] = {}
    for edge in workflow.edges:
        sources.setdefault(edge.target, []).append(edge.source)
        shown.setdefault(edge.source, set()).add(edge.tool_name or "")
    boxes: dict[str, _Box] = {}
    y = _MARGIN
    for row in rows:
        indent = _MARGIN + (widest - len(row)) * (_WIDTH + _GAP_X) // 2
        placed = [
            _Box(node, indent + column * (_WIDTH + _GAP_X), y, _lines(node, shown))
            for column, node in enumerate(_untangled(row, boxes, sources))
        ]
        boxes |= {box.node.node_id: box for box in placed}
        y += max(box.height for box in placed) + _GAP_Y
    return boxes


def _lines(node: Node, shown: dict[str, set[str]]) -> tuple[tuple[str, str], ...]:
    """Return the lines of a box with their classes; tools that are arrows have none."""
    kind = "" if node.kind == "Agent" else node.kind
    where = " ".join(part for part in (kind, f"in {node.scope}" if node.scope else "") if part)
    about = _wrapped(node.instructions or "", _INSIDE / _CHARACTER, most=2)
    arrows = shown.get(node.node_id, set())
    tools = [
        fit(tool, _INSIDE / _MONOSPACE, even=True) for tool in node.tools if tool not in arrows
    ]
    return (
        *((("where", fit(where, _INSIDE / _CHARACTER)),) if where else ()),
        *(("about", line) for line in about),
        *(("tool", tool) for tool in tools),
    )


def _rows(workflow: Workflow) -> list[list[Node]]:
    """Sort the nodes by their distance from those that no other leads to."""
    nodes = {node.node_id: node for node in workflow.nodes}
    targets = {edge.target for edge in workflow.edges if edge.source != edge.target}
    following: dict[str, list[str]] = {}
    for edge in workflow.edges:
        following.setdefault(edge.source, []).append(edge.target)
    left = iter(nodes)
    seen: set[str] = set()
    rows = []
    starts = [name for name in nodes if name not in targets]
    while len(seen) < len(nodes):
        # a cycle has no first node: begin with the first that is left
        row = starts or [next(name for name in left if name not in seen)]
        seen.update(row)
        rows.append([nodes[name] for name in row])
        next_ones = dict.fromkeys(t for name in row for t in following.get(name, ()))
        starts = [name for name in next_ones if name in nodes and name not in seen]
    return rows


def _split(row: list[Node]) -> Iterator[list[Node]]:
    for start in range(0, len(row), _MOST_IN_A_ROW):
        yield row[start : start + _MOST_IN_A_ROW]


def _untangled(
    row: list[Node], above: dict[str, _Box], sources: dict[str, list[str]]
) -> list[Node]:
    """Put each node of a row below those that lead to it."""

    def place(node: Node) -> float:
        places = [above[name].x for name in sources.get(node.node_id, ()) if name in above]
        return sum(places) / len(places) if places else 0

    return sorted(row, key=place)


def _mark(node: Node, earlier: dict[str, Node] | None) -> str:
    if earlier is None:
        return ""
    before = earlier.get(node.node_id)
    if before is None:
        return "new"
    moved = replace(before, line=node.line, end_line=node.end_line)
    return "" if moved == node else "changed"


def _box(box: _Box, mark: str) -> str:
    node = box.node
    x, y = box.x + 14, box.y + _HEAD - 13
    about = textwrap.shorten(node.instructions or node.name, _LONGEST_TITLE, placeholder="…")
    lines = [
        f'<g class="node{mark and f" {mark}"}" data-node="{escape(node.node_id)}">',
        f"<title>{escape(about)}</title>",
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}"/>',
        f'<text class="name" x="{x}" y="{y}">{fit(node.name, _INSIDE / _BOLD)}</text>',
    ]
    if mark:
        right = box.x + _WIDTH - 12
        lines.append(
            f'<text class="mark" x="{right}" y="{box.y + 15}" text-anchor="end">{mark}</text>'
        )
    for row, (kind, text) in enumerate(box.lines, start=1):
        lines.append(f'<text class="{kind}" x="{x}" y="{y + row * _LINE + 2}">{text}</text>')
    return "".join(lines) + "</g>"


def _arrow(edge: Edge, source: _Box, target: _Box, *, new: bool) -> str:
    """Curve down from one box to the other, below a row, or round the side and up."""
    # beside the arrow of a handoff between the same two
    aside = _ASIDE if edge.kind == "tool" else 0
    x1, y1 = source.middle + aside, source.y + source.height
    x2, y2 = target.middle + aside, target.y
    if y2 > source.y:
        bend = (y1 + y2) // 2
        path = f"M{x1} {y1}C{x1} {bend} {x2} {bend} {x2} {y2 - 2}"
    elif y2 == source.y and source is not target:
        y2 += target.height
        bend = max(y1, y2) + _GAP_Y // 2
        path = f"M{x1} {y1}C{x1} {bend} {x2} {bend} {x2} {y2 + 2}"
    else:
        x1, y1 = source.x + _WIDTH, source.y + source.height - 14
        x2, y2 = target.x + _WIDTH, target.y + 14
        side = max(x1, x2) + _GAP_X
        path = f"M{x1} {y1}C{side} {y1} {side} {y2} {x2 + 2} {y2}"
    kind = f"edge{' tool' if edge.kind == 'tool' else ''}{' new' if new else ''}"
    arrow = f'<path class="{kind}" d="{path}"/>'
    if edge.kind == "handoff":
        return arrow
    place = f'x="{(x1 + x2) // 2}" y="{(y1 + y2) // 2 + 4}"'
    name = fit(edge.tool_name or "", _LABEL, even=True)
    return f'{arrow}<text class="label" {place}>{name}</text>'


def escape(text: str) -> str:
    """Escape for XML, which has no place at all for most control characters."""
    return html.escape(_NOT_XML.sub("\ufffd", text))


def fit(text: str, width: float, *, even: bool = False) -> str:
    """Fit the first line of a text into so many usual characters, and escape it."""
    line = text.strip().partition("\n")[0][: 4 * int(width)]
    return escape(_cut(line, width, even=even))


def _wrapped(text: str, width: float, *, most: int) -> list[str]:
    """Divide a text into lines of that width, escaped; the last one says if there is more."""
    words = text[: 8 * most * int(width)].split()
    lines: list[str] = []
    while words and len(lines) < most - 1:
        line = words.pop(0)
        while words and _measure(f"{line} {words[0]}") <= width:
            line = f"{line} {words.pop(0)}"
        lines.append(line)
    if words:
        lines.append(" ".join(words))
    return [escape(_cut(line, width)) for line in lines]


def _cut(line: str, width: float, *, even: bool = False) -> str:
    if _measure(line, even=even) <= width:
        return line
    used = _measure("…", even=even)
    for index, character in enumerate(line):
        used += _measure(character, even=even)
        if used > width:
            return f"{line[:index].rstrip()}…"
    return line


def _measure(text: str, *, even: bool = False) -> float:
    """Return the width of a text in usual characters; `even` is a monospaced font."""
    used = 0.0
    for character in text:
        if unicodedata.east_asian_width(character) in "WF":
            used += 2.3  # an emoji; an ideograph takes a little less
        elif even:
            used += 1
        elif character in _WIDE_LETTERS:
            used += 1.8
        elif character in _NARROW_LETTERS:
            used += 0.6
        else:
            used += 1.25 if character.isupper() else 1
    return used
