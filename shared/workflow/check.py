"""Static checks of a project's code: one module that uses the OpenAI Agents SDK, never executed."""

import ast
import threading
from contextlib import nullcontext

from pyflakes import checker, messages

from shared.workflow.limits import bound_text, bound_tree
from shared.workflow.model import Error, Node, Reference, Workflow, invalid
from shared.workflow.parse import Module, compile_module, literal, read_module

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


class _Checker(checker.Checker):  # type: ignore[misc]
    """pyflakes without its search for redefinitions: 50 s for 180 kB of `def f(): pass`."""

    def differentForks(self, _node: ast.AST, _other: ast.AST) -> bool:  # noqa: N802
        return True


def _flakes(tree: ast.Module) -> list[messages.Message]:
    found = _Checker(tree, filename="workflow.py", builtins=set(), withDoctest=False)
    return [flake for flake in found.messages if isinstance(flake, _FATAL)]


def _id_errors(module: Module) -> list[Error]:
    errors: list[Error] = []
    lines: dict[tuple[str, str], int] = {}
    for node in module.workflow.nodes:
        if node.variable is None:
            continue
        first = lines.setdefault((node.scope, node.variable), node.line)
        if first != node.line:
            message = f"the agent `{node.variable}` is already defined on line {first}"
            errors.append(Error(node.line, message))
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
