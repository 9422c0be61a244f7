"""The agent's two tools, and the workbench on which they work: a copy of the project's code."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVarTuple

from agents import ModelBehaviorError, RunContextWrapper, apply_diff, function_tool

from shared.errors import InvalidWorkflow
from shared.workflow.check import check_module
from shared.workflow.model import Error, invalid, outline_text
from shared.workflow.parse import parse_workflow
from shared.workflow.scope import scope_violation
from shared.workflow.text import numbered
from worker import faults

# beyond this the search for the context of hunks, lines times lines, takes more than a second
_MOST_COMPARISONS = 4_000_000

_LARGE = 20_000
_Texts = TypeVarTuple("_Texts")

_ENVELOPE = re.compile(r"^\*\*\* (?:Begin|End) Patch[ \t]*\n?", re.MULTILINE)
_HEADER = re.compile(r"^\*\*\* (Update|Add|Delete) File:[^\n]*\n?", re.MULTILINE)


class PatchRejected(Exception):
    """A patch does not apply, or what it makes is not allowed; the text is the exact reason."""


class Workbench:
    """The code as one run sees it; a patch that is refused leaves no trace."""

    def __init__(self, code: str, *, node_id: str | None, code_limit: int) -> None:
        self.code = code
        self.node_id = node_id
        self.patches: list[str] = []
        self._base = code
        self.code_limit = code_limit

    def apply(self, patch: str) -> str:
        """Apply a patch and return the new code; raise PatchRejected and change nothing."""
        after = _patched(self.code, patch)
        if after == self.code:
            raise PatchRejected("The patch changes nothing.")
        if len(after) > self.code_limit:
            raise PatchRejected(
                f"The module would have {len(after)} characters; {self.code_limit} are allowed."
            )
        self._check(after)
        self.code = after
        self.patches.append(patch)
        return after

    def _check(self, after: str) -> None:
        try:
            report, _ = check_module(after)
            if errors := [item for item in report.diagnostics if item.is_error]:
                raise invalid([Error(item.line, item.message) for item in errors])
            if self.node_id is not None:
                self._check_scope(after, self.node_id)
        except InvalidWorkflow as error:
            raise PatchRejected(f"The module would be wrong: {error.detail}.") from None

    def _check_scope(self, after: str, node_id: str) -> None:
        try:
            # against the run's first state, so that a tool added in this run can still be mended
            violation = scope_violation(self._base, after, node_id)
        except InvalidWorkflow as error:
            # code from elsewhere that does not parse cannot be compared, only replaced as a whole
            raise PatchRejected(f"The module was already wrong: {error.detail}.") from None
        if violation:
            raise PatchRejected(f"This session is only for the agent `{node_id}`: {violation}.")


def replay(patches: Sequence[str], *, code: str, node_id: str | None, code_limit: int) -> str:
    """Apply accepted patches to other code, with the same checks; raise PatchRejected.

    A patch that replaces the whole module would undo what others did to it: it is refused.
    """
    if any(_replaces_all(patch) for patch in patches):
        raise PatchRejected("The patch replaces the whole module.")
    workbench = Workbench(code, node_id=node_id, code_limit=code_limit)
    for patch in patches:
        workbench.apply(patch)
    return workbench.code


def _replaces_all(patch: str) -> bool:
    return any(operation == "Add" for operation, _ in _sections(patch))


def _patched(code: str, patch: str) -> str:
    compared = 0
    for operation, diff in _sections(patch):
        if operation == "Delete":
            raise PatchRejected("The module cannot be deleted.")
        compared += (code.count("\n") + 1) * (diff.count("\n") + 1)
        if compared > _MOST_COMPARISONS:
            raise PatchRejected("The patch is too long for this module; send smaller hunks.")
        try:
            code = _create(diff) if operation == "Add" else apply_diff(code, diff)
        except ValueError as error:
            raise PatchRejected(f"The patch does not apply: {error}") from None
    return code


def _create(diff: str) -> str:
    return apply_diff("", diff, mode="create") + "\n"


def _sections(patch: str) -> list[tuple[str, str]]:
    """Divide a patch at its file headers, if it has any; there is only one file."""
    body = _ENVELOPE.sub("", patch.replace("\r\n", "\n")).strip("\n")
    parts = _HEADER.split(body)
    sections = [("Update", parts[0])] if parts[0].strip() else []
    sections += zip(parts[1::2], parts[2::2], strict=True)
    if not sections:
        raise PatchRejected("The patch is empty.")
    return sections


def _wrong_arguments(_context: RunContextWrapper[Any], error: Exception) -> str:
    if isinstance(error, ModelBehaviorError):
        return f"Nothing was changed. The arguments are wrong: {error}"
    raise error


@function_tool(failure_error_function=_wrong_arguments, timeout_behavior="raise_exception")
async def outline(context: RunContextWrapper[Workbench]) -> str:
    """List the agents and tools of the workflow with their lines, tools and handoffs."""
    return await _aside(_outline, context.context)


@function_tool(failure_error_function=_wrong_arguments, timeout_behavior="raise_exception")
async def apply_patch(context: RunContextWrapper[Workbench], patch: str) -> str:
    """Change the workflow module; the answer says what came of it.

    Args:
        patch: A V4A diff of the module: hunks of context, `-` and `+` lines.
    """
    return await _aside(_apply, context.context, patch)


async def _aside(
    work: Callable[[Workbench, *_Texts], str], workbench: Workbench, *texts: *_Texts
) -> str:
    # a check takes 0.4 ms, a thread costs 0.2 ms; of 200 kB it takes 500 ms, in which the loop's
    # other runs must go on, and the tool's time limit must be able to strike
    if len(workbench.code) + sum(len(str(text)) for text in texts) < _LARGE:
        return work(workbench, *texts)
    return await asyncio.to_thread(work, workbench, *texts)


def _outline(workbench: Workbench) -> str:
    try:
        return outline_text(parse_workflow(workbench.code))
    except InvalidWorkflow as error:
        return f"The module does not parse: {error.detail}."


def _apply(workbench: Workbench, patch: str) -> str:
    faults.reach("in_tool")
    try:
        workbench.apply(patch)
    except PatchRejected as error:
        return f"Nothing was changed. {error}{_code_now(workbench)}"
    return f"The patch is applied.\n{_outline(workbench)}"


def _code_now(workbench: Workbench) -> str:
    # the instructions show the code before the run's first patch
    if not workbench.patches:
        return ""
    return f"\nAfter your earlier patches the module is:\n{numbered(workbench.code)}"
