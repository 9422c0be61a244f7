"""A project's code as a program that a person can start."""

import ast
from collections.abc import Iterator

from shared.workflow.model import Node
from shared.workflow.parse import Module, read_module

_PROGRAM = """

if __name__ == "__main__":  # talk to it: pip install openai-agents, set OPENAI_API_KEY
    import asyncio

    from agents import run_demo_loop

    asyncio.run(run_demo_loop({start}))
"""
_STARTS = frozenset({"asyncio.run", "anyio.run", "trio.run"})
_START_NAMES = frozenset({"run_sync", "run_demo_loop", "run_until_complete"})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def as_program(code: str) -> str:
    """Return the module with an end that lets a person talk to its first agent.

    The first is the one that no other hands off to or uses as a tool. The module is returned as it
    is where it starts something itself, or where no variable of its top level holds such an agent.
    Realtime and sandbox agents need more than a text to run: they get no start.
    """
    module = read_module(code)
    start = _start(module)
    if start is None or _starts_itself(module):
        return code
    end = _PROGRAM.format(start=start)
    if code.count("\r\n") * 2 > code.count("\n"):
        end = end.replace("\n", "\r\n")
    return code.rstrip("\r\n") + ("\r\n" if "\r\n" in end else "\n") + end


def _start(module: Module) -> str | None:
    workflow = module.workflow
    targets = {edge.target for edge in workflow.edges if edge.source != edge.target}
    # in a circle all are targets: then the first of them starts
    firsts = [node for node in workflow.nodes if node.node_id not in targets] or workflow.nodes
    holders = {node.variable: node.node_id for node in workflow.nodes if not node.scope}

    def can_start(node: Node) -> bool:
        plain = module.classes[node.node_id] == "Agent"
        return plain and node.variable is not None and holders.get(node.variable) == node.node_id

    return next((node.variable for node in firsts if can_start(node)), None)


def _starts_itself(module: Module) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id == "__name__")
        or (isinstance(node, ast.Call) and _is_start(module, node.func))
        for node in _top_level(module.tree)
    )


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that run when the module is started."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(
            child for child in ast.iter_child_nodes(node) if not isinstance(child, _SCOPES)
        )


def _is_start(module: Module, function: ast.expr) -> bool:
    path: list[str] = []
    while isinstance(function, ast.Attribute):
        path.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        path.append(module.imports.get(function.id, function.id))
    full = ".".join(reversed(path))
    return full in _STARTS or full.rpartition(".")[2] in _START_NAMES
