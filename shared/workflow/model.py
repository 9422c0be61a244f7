"""The parts of a workflow, its problems, and the exception that lists them."""

import ast
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeVar

from shared.errors import InvalidWorkflow

_MOST_ERRORS = 20
_LONGEST_OUTLINE = 20_000

_Part = TypeVar("_Part")
EdgeKind = Literal["handoff", "tool"]


@dataclass(frozen=True)
class Node:
    """One agent that the module makes.

    `node_id` is its variable, else its name as an identifier. `variable` is the plain variable that
    holds it, if there is one. `scope` is the qualified name of the function or class around it, ""
    at the top level.
    """

    node_id: str
    name: str
    line: int
    end_line: int
    instructions: str | None = None
    model: str | None = None
    tools: tuple[str, ...] = ()
    handoffs: tuple[str, ...] = ()
    kind: str = "Agent"
    scope: str = ""
    variable: str | None = None
    output_type: str | None = None
    handoff_description: str | None = None
    input_guardrails: tuple[str, ...] = ()
    output_guardrails: tuple[str, ...] = ()
    mcp_servers: tuple[str, ...] = ()
    hooks: str | None = None


@dataclass(frozen=True)
class Tool:
    """One tool that the module defines by name; `kind` is the function or class that makes it."""

    name: str
    line: int
    end_line: int
    description: str
    kind: str = "function_tool"
    scope: str = ""


@dataclass(frozen=True)
class Edge:
    """One handoff, or one agent that another uses as the tool `tool_name`."""

    source: str
    target: str
    kind: EdgeKind = "handoff"
    tool_name: str | None = None


@dataclass(frozen=True)
class Unresolved:
    """A part of the workflow that only a run decides; `field` is the agent's argument."""

    line: int
    node_id: str | None
    field: str
    text: str


@dataclass(frozen=True)
class Workflow:
    """The agents, tools and edges of a module, in the order of its lines."""

    nodes: tuple[Node, ...] = ()
    tools: tuple[Tool, ...] = ()
    edges: tuple[Edge, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()

    def node(self, node_id: str) -> Node | None:
        """Return the node of that id, if the module has it."""
        return next((node for node in self.nodes if node.node_id == node_id), None)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Make the workflow of which `to_json` made this dictionary, before or after JSON."""
        return cls(
            nodes=_each(Node, data["nodes"]),
            tools=_each(Tool, data["tools"]),
            edges=_each(Edge, data["edges"]),
            unresolved=_each(Unresolved, data["unresolved"]),
        )


def _each(kind: type[_Part], items: Iterable[dict[str, Any]]) -> tuple[_Part, ...]:
    return tuple(
        kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in item.items()})
        for item in items
    )


MORE = "more-problems"
"""The rule of a diagnostic that stands for those that are not listed."""


@dataclass(frozen=True)
class Diagnostic:
    """One problem of a module: the rule that found it, and a sentence.

    An `error` fails when the module runs; a `warning` is advice.
    """

    line: int
    rule: str
    message: str
    severity: Literal["error", "warning"] = "error"

    @property
    def is_error(self) -> bool:
        """Tell whether an edit that adds it is refused."""
        return self.severity == "error"


@dataclass(frozen=True)
class Report:
    """The result of a check: what the module defines, and its problems in the order of lines."""

    workflow: Workflow
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Reference:
    """One element of an agent's `handoffs` or `tools`; `expression` is what it names."""

    kind: str
    owner: str
    label: str
    expression: ast.expr


@dataclass(frozen=True)
class Error:
    """One thing that is wrong with a module."""

    line: int
    message: str


def invalid(errors: list[Error]) -> InvalidWorkflow:
    """Make the exception that lists these errors, the first of them in its text."""
    first = errors[:_MOST_ERRORS]
    return InvalidWorkflow(
        "; ".join(f"line {error.line}: {error.message}" for error in first),
        errors=[{"line": error.line, "detail": error.message} for error in first],
    )


def outline_text(workflow: Workflow) -> str:
    """Return agents, tools and unresolved parts, a few words each, in bounded length."""
    uses: dict[str, list[str]] = {}
    for edge in workflow.edges:
        if edge.kind == "tool":
            uses.setdefault(edge.source, []).append(f"{edge.target} ({edge.tool_name})")
    lines = [_node_line(node, uses.get(node.node_id, [])) for node in workflow.nodes]
    lines = lines or ["There are no agents yet."]
    for tool in workflow.tools:
        about = f": {tool.description}" if tool.description else ""
        where = f" in {tool.scope}" if tool.scope else ""
        lines.append(f"tool {tool.name}, lines {tool.line}-{tool.end_line}{where}{about}")
    for item in workflow.unresolved:
        of = f" of {item.node_id}" if item.node_id else ""
        lines.append(f"not resolved, line {item.line}, {item.field}{of}: {item.text}")
    return _bounded(lines)


def _node_line(node: Node, uses: list[str]) -> str:
    name = f' named "{node.name}"' if node.name != node.node_id else ""
    kind = "" if node.kind == "Agent" else f" ({node.kind})"
    where = f" in {node.scope}" if node.scope else ""
    model = f", model {node.model}" if node.model else ""
    used = f", uses as tools: {', '.join(uses)}" if uses else ""
    return (
        f"agent {node.node_id}{name}{kind}, lines {node.line}-{node.end_line}{where}{model}, "
        f"tools: {', '.join(node.tools) or 'none'}, "
        f"hands off to: {', '.join(node.handoffs) or 'none'}{used}"
    )


def _bounded(lines: list[str]) -> str:
    length = 0
    for index, line in enumerate(lines):
        length += len(line) + 1
        if length > _LONGEST_OUTLINE:
            return "\n".join([*lines[:index], f"... and {len(lines) - index} more lines"])
    return "\n".join(lines)
