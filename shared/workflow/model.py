"""The parts of a workflow, and the exception that says what is wrong with one."""

import ast
from dataclasses import dataclass

from shared.errors import InvalidWorkflow

_MOST_ERRORS = 20


@dataclass(frozen=True)
class Node:
    """One `Agent(...)` of the module; `node_id` is the variable that it is assigned to."""

    node_id: str
    name: str
    line: int
    end_line: int
    instructions: str | None
    model: str | None
    tools: tuple[str, ...]
    handoffs: tuple[str, ...]


@dataclass(frozen=True)
class Tool:
    """One tool that the module defines by name."""

    name: str
    line: int
    end_line: int
    description: str


@dataclass(frozen=True)
class Edge:
    """One handoff, between two variables of the module."""

    source: str
    target: str


@dataclass(frozen=True)
class Workflow:
    """What a module defines, in the order of its lines."""

    nodes: tuple[Node, ...] = ()
    tools: tuple[Tool, ...] = ()

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Return every handoff of every node."""
        return tuple(Edge(node.node_id, target) for node in self.nodes for target in node.handoffs)

    def node(self, node_id: str) -> Node | None:
        """Return the node of that id, if the module has it."""
        return next((node for node in self.nodes if node.node_id == node_id), None)


@dataclass(frozen=True)
class Diagnostic:
    """One problem of a module: the rule that found it, and a sentence with its line."""

    line: int
    rule: str
    message: str


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
    """Return agents and tools with their lines, as a few words each."""
    lines = [_node_line(node) for node in workflow.nodes] or ["There are no agents yet."]
    for tool in workflow.tools:
        about = f": {tool.description}" if tool.description else ""
        lines.append(f"tool {tool.name}, lines {tool.line}-{tool.end_line}{about}")
    return "\n".join(lines)


def _node_line(node: Node) -> str:
    name = f' named "{node.name}"' if node.name != node.node_id else ""
    model = f", model {node.model}" if node.model else ""
    return (
        f"agent {node.node_id}{name}, lines {node.line}-{node.end_line}{model}, "
        f"tools: {', '.join(node.tools) or 'none'}, "
        f"hands off to: {', '.join(node.handoffs) or 'none'}"
    )
