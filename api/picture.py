"""The workflow as an SVG picture: agents as boxes, handoffs as arrows, tools as lines of text."""

import html
import re
from dataclasses import dataclass

from shared.workflow import Node, Workflow

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDTH, _HEAD, _LINE = 180, 40, 18
_GAP_X, _GAP_Y, _MARGIN = 40, 60, 24


@dataclass(frozen=True)
class _Box:
    node: Node
    x: int
    y: int

    @property
    def height(self) -> int:
        return _HEAD + _LINE * len(self.node.tools)


def draw(workflow: Workflow, *, title: str) -> str:
    """Draw the workflow, with handoffs leading downwards where they can."""
    boxes = _place(workflow)
    width = max((box.x + _WIDTH for box in boxes.values()), default=300) + _MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=60) + _MARGIN
    parts = [_box(box) for box in boxes.values()]
    parts += [
        _arrow(boxes[edge.source], boxes[edge.target])
        for edge in workflow.edges
        if edge.source in boxes and edge.target in boxes
    ]
    if not boxes:
        parts.append(f'<text x="{_MARGIN}" y="{_MARGIN + 12}">No agents yet.</text>')
    return _FRAME.format(
        width=width, height=height, title=escape(title), style=_STYLE, body="\n".join(parts)
    )


_FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img" aria-label="Workflow {title}">
<title>{title}</title>
<style>{style}</style>
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 10 5 0 10z"/></marker></defs>
{body}
</svg>
"""

_STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2328}
.name{font-weight:600}.tool{font-size:11px;fill:#59636e}
rect{fill:#f6f8fa;stroke:#59636e;rx:8}
.edge{fill:none;stroke:#0969da;stroke-width:1.5;marker-end:url(#head)}marker path{fill:#0969da}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.tool{fill:#9198a1}
rect{fill:#151b23;stroke:#9198a1}.edge{stroke:#4493f8}marker path{fill:#4493f8}}
"""


def _place(workflow: Workflow) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    y = _MARGIN
    for row in _rows(workflow):
        for column, node in enumerate(row):
            boxes[node.node_id] = _Box(node, _MARGIN + column * (_WIDTH + _GAP_X), y)
        y += max(boxes[node.node_id].height for node in row) + _GAP_Y
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


def _box(box: _Box) -> str:
    node = box.node
    lines = [
        f'<g data-node="{escape(node.node_id)}">',
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}"/>',
        f'<text class="name" x="{box.x + 12}" y="{box.y + 25}">{escape(_short(node.name))}</text>',
    ]
    for row, tool in enumerate(node.tools):
        y = box.y + _HEAD + row * _LINE + 6
        lines.append(f'<text class="tool" x="{box.x + 12}" y="{y}">{escape(_short(tool))}</text>')
    return "".join(lines) + "</g>"


def _arrow(source: _Box, target: _Box) -> str:
    """Curve from the lower edge of one box to the upper edge of the other, or round the side."""
    if target.y > source.y:
        x1, y1 = source.x + _WIDTH // 2, source.y + source.height
        x2, y2 = target.x + _WIDTH // 2, target.y
        middle = (y1 + y2) // 2
        path = f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"
    else:
        x1, y1 = source.x + _WIDTH, source.y + source.height // 2
        x2, y2 = target.x + _WIDTH, target.y + 12
        side = max(x1, x2) + _GAP_X // 2
        path = f"M{x1} {y1}C{side} {y1} {side} {y2} {x2} {y2}"
    return f'<path class="edge" d="{path}"/>'


def escape(text: str) -> str:
    """Escape for XML, which has no place at all for most control characters."""
    return html.escape(_NOT_XML.sub("\ufffd", text))


def _short(text: str) -> str:
    return text if len(text) <= 22 else f"{text[:21]}…"  # noqa: PLR2004 -- what fits the box
