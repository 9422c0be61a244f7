"""The workflow as an SVG picture: agents as boxes, handoffs as arrows, tools as lines of text."""

import html
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from shared.workflow.model import Edge, Node, Workflow

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDTH, _HEAD, _LINE = 216, 38, 17
_GAP_X, _GAP_Y, _MARGIN = 36, 56, 20
_MOST_IN_A_ROW = 4


@dataclass(frozen=True)
class _Box:
    node: Node
    x: int
    y: int

    @property
    def about(self) -> list[str]:
        return textwrap.wrap(self.node.instructions or "", 30, max_lines=2, placeholder="…")

    @property
    def height(self) -> int:
        lines = len(self.about) + len(self.node.tools)
        return _HEAD + _LINE * lines + (14 if self.node.tools else 6 if lines else 0)

    @property
    def middle(self) -> int:
        return self.x + _WIDTH // 2


def draw(workflow: Workflow, *, title: str, since: Workflow | None = None) -> str:
    """Draw the workflow, with handoffs leading downwards where they can.

    What is not as it was in the earlier workflow is marked as `new` or `changed`.
    """
    boxes = _place(workflow)
    width = max((box.x + _WIDTH for box in boxes.values()), default=220) + _MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=44) + _MARGIN
    known = set(since.edges) if since else set(workflow.edges)
    parts = [
        _arrow(boxes[edge.source], boxes[edge.target], new=edge not in known)
        for edge in workflow.edges
        if edge.source in boxes and edge.target in boxes
    ]
    parts += [_box(box, _mark(box.node, since)) for box in boxes.values()]
    if not boxes:
        parts.append(f'<text x="{_MARGIN}" y="{_MARGIN + 16}">No agents yet.</text>')
    return _FRAME.format(
        width=width,
        height=height,
        title=escape(title),
        style=_STYLE,
        heads="".join(_HEAD_OF_ARROW.format(id=name) for name in ("head", "head-new")),
        body="\n".join(parts),
    )


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
.edge.new{stroke:#1a7f37;marker-end:url(#head-new)}.head-new{fill:#1a7f37}
.changed rect{stroke:#bc6c00;stroke-width:2}.changed .mark{fill:#9a5800}
@media (prefers-color-scheme:dark){text{fill:#9da7b1}.name{fill:#f0f3f6}
rect{fill:#1c2127;stroke:#454c55}.edge{stroke:#7d8793}.head{fill:#7d8793}
.new rect,.edge.new{stroke:#3fb950}.new .mark{fill:#56d364}.head-new{fill:#3fb950}
.changed rect{stroke:#d29922}.changed .mark{fill:#e3b341}}
"""


def _place(workflow: Workflow) -> dict[str, _Box]:
    rows = [part for row in _rows(workflow) for part in _split(row)]
    widest = max((len(row) for row in rows), default=0)
    boxes: dict[str, _Box] = {}
    y = _MARGIN
    for row in rows:
        indent = _MARGIN + (widest - len(row)) * (_WIDTH + _GAP_X) // 2
        placed = [
            _Box(node, indent + column * (_WIDTH + _GAP_X), y)
            for column, node in enumerate(_untangled(row, boxes, workflow.edges))
        ]
        boxes |= {box.node.node_id: box for box in placed}
        y += max(box.height for box in placed) + _GAP_Y
    return boxes


def _rows(workflow: Workflow) -> list[list[Node]]:
    """Sort the nodes by their distance from those that nobody hands off to."""
    nodes = {node.node_id: node for node in workflow.nodes}
    targets = {edge.target for edge in workflow.edges if edge.source != edge.target}
    seen: set[str] = set()
    rows = []
    starts = [name for name in nodes if name not in targets]
    while len(seen) < len(nodes):
        # in a cycle nobody comes first: begin with the first that is left
        row = starts or [next(name for name in nodes if name not in seen)]
        seen.update(row)
        rows.append([nodes[name] for name in row])
        following = [target for name in row for target in nodes[name].handoffs]
        starts = [name for name in dict.fromkeys(following) if name in nodes and name not in seen]
    return rows


def _split(row: list[Node]) -> Iterator[list[Node]]:
    for start in range(0, len(row), _MOST_IN_A_ROW):
        yield row[start : start + _MOST_IN_A_ROW]


def _untangled(row: list[Node], above: dict[str, _Box], edges: Iterable[Edge]) -> list[Node]:
    """Put each node of a row below those that hand off to it."""

    def place(node: Node) -> float:
        sources = [
            above[edge.source].x
            for edge in edges
            if edge.target == node.node_id and edge.source in above
        ]
        return sum(sources) / len(sources) if sources else 0

    return sorted(row, key=place)


def _mark(node: Node, since: Workflow | None) -> str:
    if since is None:
        return ""
    before = since.node(node.node_id)
    if before is None:
        return "new"
    moved = replace(before, line=node.line, end_line=node.end_line)
    return "" if moved == node else "changed"


def _box(box: _Box, mark: str) -> str:
    node = box.node
    x, y = box.x + 14, box.y + _HEAD - 13
    lines = [
        f'<g class="node{mark and f" {mark}"}" data-node="{escape(node.node_id)}">',
        f"<title>{escape(node.instructions or node.name)}</title>",
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}"/>',
        f'<text class="name" x="{x}" y="{y}">{_short(node.name, 23)}</text>',
    ]
    if mark:
        right = box.x + _WIDTH - 12
        lines.append(
            f'<text class="mark" x="{right}" y="{box.y + 15}" text-anchor="end">{mark}</text>'
        )
    for row, line in enumerate(box.about, start=1):
        lines.append(f'<text x="{x}" y="{y + row * _LINE + 2}">{escape(line)}</text>')
    y += len(box.about) * _LINE + 8
    for row, tool in enumerate(node.tools, start=1):
        lines.append(
            f'<text class="tool" x="{x}" y="{y + row * _LINE + 2}">{_short(tool, 26)}</text>'
        )
    return "".join(lines) + "</g>"


def _arrow(source: _Box, target: _Box, *, new: bool) -> str:
    """Curve down from one box to the other, below a row, or round the side and up."""
    x1, y1 = source.middle, source.y + source.height
    x2, y2 = target.middle, target.y
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
    return f'<path class="edge{" new" if new else ""}" d="{path}"/>'


def escape(text: str) -> str:
    """Escape for XML, which has no place at all for most control characters."""
    return html.escape(_NOT_XML.sub("\ufffd", text))


def _short(text: str, limit: int) -> str:
    """Fit the first line of a text into a box."""
    line = text.strip().partition("\n")[0]
    return escape(line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…")
