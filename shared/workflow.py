"""Static checks of a project's code: one module that uses the OpenAI Agents SDK, never executed."""

import ast
import difflib
import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext

from pyflakes import checker, messages

from shared.workflow_ast import Module, compile_module, literal, read_module
from shared.workflow_bounds import bound_text, bound_tree, can_compare
from shared.workflow_model import Edge, Error, Node, Reference, Tool, Workflow, invalid
from shared.workflow_scope import scope_violation

__all__ = [
    "EMPTY_WORKFLOW",
    "Edge",
    "Node",
    "Tool",
    "Workflow",
    "as_program",
    "check_workflow",
    "numbered",
    "outline",
    "parse_workflow",
    "scope_violation",
    "unified_diff",
]

EMPTY_WORKFLOW = '''"""A workflow of agents."""

from agents import Agent
'''

_PROGRAM = """

if __name__ == "__main__":  # talk to it: pip install openai-agents, set OPENAI_API_KEY
    import asyncio

    from agents import run_demo_loop

    asyncio.run(run_demo_loop({start}))
"""

_NODE_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# 200 kB of code may take 170 MB while it is checked, and a second: that is for threads, in turn
_LARGE = 20_000
_ONE_LARGE = threading.Lock()
_FATAL = (
    messages.UndefinedName,
    messages.UndefinedExport,
    messages.UndefinedLocal,
    messages.DuplicateArgument,
    messages.ForwardAnnotationSyntaxError,
    messages.ImportStarNotPermitted,
    messages.LateFutureImport,
    messages.FutureFeatureNotDefined,
    messages.ReturnOutsideFunction,
    messages.YieldOutsideFunction,
    messages.ContinueOutsideLoop,
    messages.BreakOutsideLoop,
    messages.DefaultExceptNotLast,
    messages.TwoStarredExpressions,
    messages.TooManyExpressionsInStarredAssignment,
)


def parse_workflow(code: str) -> Workflow:
    """Return what the module defines; raise InvalidWorkflow if it does not parse."""
    return read_module(code).workflow


def check_workflow(code: str) -> Workflow:
    """Return what the module defines; raise InvalidWorkflow with everything that is wrong."""
    with _ONE_LARGE if len(code) > _LARGE else nullcontext():
        return _check(code)


def _check(code: str) -> Workflow:
    bound_text(code)
    module = read_module(code)
    try:
        bound_tree(module.tree)
        compile_module(module.tree)
        flakes = _flakes(module.tree)
    except (RecursionError, MemoryError):
        raise invalid([Error(1, "the module is nested too deeply")]) from None
    except (ValueError, SyntaxError) as error:
        raise invalid([Error(1, f"the module cannot be checked: {error}")]) from None
    errors = [*_id_errors(module), *_name_errors(module), *_reference_errors(module, flakes)]
    if errors:
        raise invalid(sorted(dict.fromkeys(errors), key=lambda error: error.line))
    return module.workflow


def as_program(code: str) -> str:
    """Return the module with an end that lets a person talk to its first agent, if it has one.

    The first is one that nobody hands off to.
    """
    workflow = parse_workflow(code)
    targets = {edge.target for edge in workflow.edges}
    starts = [node for node in workflow.nodes if node.node_id not in targets] or workflow.nodes
    if not starts or "__main__" in code:
        return code
    return code.rstrip("\n") + "\n" + _PROGRAM.format(start=starts[0].node_id)


def unified_diff(before: str, after: str) -> str:
    """Return the change as a unified diff of `workflow.py`, empty when there is none."""
    if before == after:
        return ""
    old, new = _diff_lines(before), _diff_lines(after)
    names = ("a/workflow.py", "b/workflow.py")
    if can_compare(old, new):
        lines = difflib.unified_diff(old, new, *names)
    else:
        lines = _replaced(old, new, *names)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _replaced(old: list[str], new: list[str], before: str, after: str) -> Iterator[str]:
    """Say in the form of a diff that all lines are others."""
    yield from (f"--- {before}\n", f"+++ {after}\n", f"@@ -1,{len(old)} +1,{len(new)} @@\n")
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)


def numbered(code: str) -> str:
    """Return the code with the number of each line before it."""
    return "\n".join(f"{n:>4} | {line}" for n, line in enumerate(code.split("\n"), start=1))


def outline(workflow: Workflow) -> str:
    """Return agents and tools with their lines, as a few words each."""
    lines = [_node_line(node) for node in workflow.nodes] or ["There are no agents yet."]
    for tool in workflow.tools:
        about = f": {tool.description}" if tool.description else ""
        lines.append(f"tool {tool.name}, lines {tool.line}-{tool.end_line}{about}")
    return "\n".join(lines)


class _Checker(checker.Checker):  # type: ignore[misc]
    """pyflakes without its search for redefinitions: 50 s for 180 kB of `def f(): pass`."""

    def differentForks(self, _node: ast.AST, _other: ast.AST) -> bool:  # noqa: N802
        return True


def _node_line(node: Node) -> str:
    name = f' named "{node.name}"' if node.name != node.node_id else ""
    model = f", model {node.model}" if node.model else ""
    return (
        f"agent {node.node_id}{name}, lines {node.line}-{node.end_line}{model}, "
        f"tools: {', '.join(node.tools) or 'none'}, "
        f"hands off to: {', '.join(node.handoffs) or 'none'}"
    )


def _diff_lines(text: str) -> list[str]:
    # not splitlines(): it also splits at form feeds and the like, which end no line of a patch
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _flakes(tree: ast.Module) -> list[messages.Message]:
    found = _Checker(tree, filename="workflow.py", builtins=set(), withDoctest=False)
    return [flake for flake in found.messages if isinstance(flake, _FATAL)]


def _id_errors(module: Module) -> list[Error]:
    errors: list[Error] = []
    lines: dict[str, int] = {}
    for node in module.workflow.nodes:
        if not _NODE_ID.fullmatch(node.node_id):
            message = (
                f"the agent's variable `{node.node_id}` must be a letter or underscore and then "
                "at most 63 letters, digits and underscores, all ASCII"
            )
            errors.append(Error(node.line, message))
        if node.node_id in lines:
            message = f"the agent `{node.node_id}` is already defined on line {lines[node.node_id]}"
            errors.append(Error(node.line, message))
        lines.setdefault(node.node_id, node.line)
    return errors


def _name_errors(module: Module) -> list[Error]:
    errors: list[Error] = []
    owners: dict[str, Node] = {}
    for node in module.workflow.nodes:
        other = owners.setdefault(node.name, node)
        if other.node_id != node.node_id:
            message = (
                f'the name "{node.name}" of `{node.node_id}` is already the name of '
                f"`{other.node_id}` (line {other.line})"
            )
            errors.append(Error(node.line, message))
    return errors


def _reference_errors(module: Module, flakes: list[messages.Message]) -> list[Error]:
    errors: list[Error] = []
    undefined = {
        (flake.lineno, flake.col): flake
        for flake in flakes
        if isinstance(flake, messages.UndefinedName)
    }
    explained = set()
    nodes = {node.node_id for node in module.workflow.nodes}
    for reference in module.references:
        place = (reference.expression.lineno, reference.expression.col_offset)
        if place in undefined and isinstance(reference.expression, ast.Name):
            explained.add(place)
            errors.append(_undefined(module, reference))
        elif reason := _misuse(module, reference, nodes):
            errors.append(Error(place[0], f"{_title(reference)} {reason}"))
    rest = (flake for flake in flakes if (flake.lineno, flake.col) not in explained)
    errors.extend(Error(flake.lineno, str(flake.message % flake.message_args)) for flake in rest)
    return errors


def _undefined(module: Module, reference: Reference) -> Error:
    line, later = reference.expression.lineno, module.lines.get(reference.label, 0)
    reason = f"is defined only later, on line {later}" if later > line else "is not defined"
    return Error(line, f"{_title(reference)} {reason}")


def _title(reference: Reference) -> str:
    return f"the {reference.kind} `{reference.label}` of `{reference.owner}`"


def _misuse(module: Module, reference: Reference, nodes: set[str]) -> str | None:
    expression = reference.expression
    if isinstance(expression, ast.Constant):
        kind = "a string" if literal(expression) is not None else "a constant"
        return f"must be the variable of one, not {kind}"
    if not isinstance(expression, ast.Name):
        return None
    function = module.functions.get(expression.id)
    if reference.kind == "tool" and expression.id in nodes:
        return "is an agent: hand off to it, or add its as_tool(...)"
    if reference.kind == "handoff" and function and module.is_tool(function):
        return "is a tool, not an agent"
    if reference.kind == "tool" and function and not function.decorator_list:
        return "is a function without @function_tool"
    return None
