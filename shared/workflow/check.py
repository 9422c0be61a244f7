"""Static checks of a project's code: one module that uses the OpenAI Agents SDK, never executed.

To be called in a child process with limits: `CodeChecker` does.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from shared.errors import InvalidWorkflow
from shared.workflow.explain import Facts, double_agents, explained, names_of_sdk
from shared.workflow.limits import bound_text, bound_tree
from shared.workflow.model import MORE, Diagnostic, Error, Report, invalid
from shared.workflow.parse import Module, compile_module, read_module
from shared.workflow.typecheck import Finding, Unavailable, find_problems

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version that runs workflows."""

_MOST_DIAGNOSTICS = 1000
_NEWER_SYNTAX = re.compile(
    r"(.*) on Python [\d.]+ \(syntax was (?:added|changed) in Python ([\d.]+)"
)


def read(code: str) -> dict[str, Any]:
    """Return the workflow of a module as JSON; raise InvalidWorkflow if it does not parse."""
    return read_module(code).workflow.to_json()


def check(code: str, python: str = PYTHON) -> dict[str, Any]:
    """Return a report as JSON, and whether it is complete; raise InvalidWorkflow as below."""
    report, complete = check_module(code, python=python)
    return {
        "workflow": report.workflow.to_json(),
        "diagnostics": [asdict(item) for item in report.diagnostics],
        "complete": complete,
    }


def check_module(code: str, *, python: str = PYTHON) -> tuple[Report, bool]:
    """Return what a module defines, with its diagnostics; false: its types were not checked.

    Raises:
        InvalidWorkflow: it does not parse as that version of Python, or it is out of bounds.
    """
    try:
        module = compiled(code)
    except InvalidWorkflow as error:
        is_syntax = isinstance(error.__context__, SyntaxError)
        raise (_newer_syntax(code, python) if is_syntax else None) or error from None
    complete = True
    facts = Facts.of(code, module.tree)
    found = [*names_of_sdk(facts), *double_agents(module)]
    try:
        problems = find_problems(code, python=python, environment=sys.prefix)
    except Unavailable as reason:
        complete = False
        text = f"the types were not checked: {reason}"
        found.append(Diagnostic(1, "types-not-checked", text, "warning"))
    else:
        if newer := _newer(problems, python):
            raise invalid(newer)
        found.extend(explained(facts, problems))
    return Report(module.workflow, _bounded(found)), complete


def compiled(code: str) -> Module:
    """Parse and compile a module within the bounds; raise InvalidWorkflow if that fails."""
    bound_text(code)
    module = read_module(code)
    try:
        bound_tree(module.tree)
        compile_module(module.tree)
    except (RecursionError, MemoryError):
        raise invalid([Error(1, "the module is nested too deeply, or too large")]) from None
    except ValueError as error:
        raise invalid([Error(1, f"the module cannot be checked: {error}")]) from None
    return module


def _newer_syntax(code: str, python: str) -> InvalidWorkflow | None:
    """Say which newer version of Python a module is for that does not parse, if it is for one."""
    try:
        problems = find_problems(code, python=python, environment=sys.prefix)
    except Unavailable:
        return None
    newer = _newer(problems, python)
    return invalid(newer) if newer else None


def _newer(problems: Iterable[Finding], python: str) -> list[Error]:
    return [
        Error(
            item.line,
            f"{found[1]}: that needs Python {found[2]}, and workflows run on Python {python} here",
        )
        for item in problems
        if item.rule == "invalid-syntax" and (found := _NEWER_SYNTAX.match(item.message))
    ]


def _bounded(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return diagnostics in the order of lines, as many and as long as an answer may hold."""
    ordered = sorted(dict.fromkeys(found), key=lambda item: item.line)
    rest = len(ordered) - _MOST_DIAGNOSTICS
    if rest > 0:
        more = Diagnostic(ordered[-1].line, MORE, f"there are {rest} more problems")
        ordered = [*ordered[:_MOST_DIAGNOSTICS], more]
    return tuple(ordered)
