"""The agent's tools, and the editor on which they work: a copy of the project's code."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

from agents import FunctionTool
from agents.tool_context import ToolContext

from shared.errors import InvalidWorkflow
from shared.workflow.checker import CodeChecker
from shared.workflow.model import Report, outline_text
from shared.workflow.text import numbered
from worker import failpoints
from worker.agent import patch as engine
from worker.agent.arguments import Names, read_arguments
from worker.agent.patch_text import PatchRejected
from worker.agent.rebase import rebase
from worker.agent.reference import sdk_reference as describe
from worker.agent.source import Source
from worker.failures import EditRepeated

_T = TypeVar("_T")
_Texts = TypeVarTuple("_Texts")
_LARGE = 20_000
_MOST_REFUSALS = 3
_MOST_NAMED = 10


class WorkflowEditor:
    """The code as one run sees it; an edit that is refused leaves no trace."""

    def __init__(
        self,
        code: str,
        *,
        node_id: str | None,
        code_limit: int,
        checker: CodeChecker,
        owner: str,
    ) -> None:
        self.node_id = node_id
        self.code_limit = code_limit
        self.edits = 0
        self._base = code
        self._source = Source.read(code)
        self._checker = checker
        self._owner = owner
        self._refusals: Counter[tuple[str, ...]] = Counter()

    @property
    def code(self) -> str:
        """Return the module with all accepted edits."""
        return self._source.text

    async def outline(self) -> str:
        """Return the module's agents and tools in words."""
        try:
            return outline_text(await self._checker.read(self.code, owner=self._owner))
        except InvalidWorkflow as error:
            return f"The module does not parse: {error.detail}."

    async def apply_patch(self, patch: str) -> Report:
        """Apply a patch and check the module; raise PatchRejected and change nothing."""
        return await self._edit(await _aside(engine.apply_patch, self._source, patch))

    async def replace_text(self, old: str, new: str) -> Report:
        """Replace a text that occurs once; otherwise as `apply_patch`."""
        return await self._edit(await _aside(engine.replace_text, self._source, old, new))

    async def _edit(self, after: Source) -> Report:
        report = await self._checked(self.code, after.text, base=self._base)
        self._source = after
        self.edits += 1
        self._refusals.clear()
        return report

    async def _checked(self, before: str, after: str, *, base: str) -> Report:
        if len(after) > self.code_limit:
            raise PatchRejected(
                f"The module would have {len(after)} characters; {self.code_limit} are allowed."
            )
        try:
            return await self._checker.check_edit(
                before, after, base=base, node_id=self.node_id, owner=self._owner
            )
        except InvalidWorkflow as error:
            detail = error.detail.removesuffix(".")
            raise PatchRejected(f"The check refuses the edit: {detail}.") from None

    async def rebased(self, newer: str) -> str:
        """Return newer code with the accepted edits, checked.

        Raises:
            RebaseConflict: an edit has no certain place there any more.
            PatchRejected: what it makes there is not allowed.
        """
        code = await _aside(rebase, self._base, self._source, newer)
        await self._checked(newer, code, base=newer)
        return code

    def lost(self, before: str) -> list[str]:
        """Say which definitions a rewrite of the whole module has left out."""
        if any(origin is not None for origin in self._source.origins):
            return []
        gone = sorted(Source.read(before).layout.names - self._source.layout.names)
        return [f"No longer defined: {', '.join(gone[:_MOST_NAMED])}."] if gone else []

    def refuse(self, edit: tuple[str, ...], reason: str) -> str:
        """Return what the model is told of a refused edit; raise EditRepeated at the third time."""
        self._refusals[edit] += 1
        if self._refusals[edit] >= _MOST_REFUSALS:
            raise EditRepeated
        if self._refusals[edit] > 1:
            return (
                f"Nothing was changed: this very edit was refused before. {reason}\n"
                "Do not send it again. Make another edit from the module's lines as they are, or "
                "tell the person why it cannot be done."
            )
        # the instructions show the code before the run's first edit
        now = f"\nAfter your earlier edits the module is:\n{numbered(self.code)}"
        return f"Nothing was changed. {reason}{now if self.edits else ''}"


async def _aside(work: Callable[[*_Texts], _T], *values: *_Texts) -> _T:
    # an edit takes a few milliseconds, a thread costs 0.2 ms; with 200 kB it takes longer than the
    # loop's other runs should wait, and the tool's time limit must be able to strike
    if sum(len(v.text) if isinstance(v, Source) else len(str(v)) for v in values) < _LARGE:
        return work(*values)
    return await asyncio.to_thread(work, *values)


# --- the tools ----------------------------------------------------------------------------

_Invoke = Callable[[WorkflowEditor, dict[str, str]], Awaitable[str]]


def _tool(
    name: str, description: str, parameters: dict[str, str], others: Names, invoke: _Invoke
) -> FunctionTool:
    """Make a tool that takes its arguments as models send them."""
    names: Names = {parameter: others.get(parameter, ()) for parameter in parameters}

    async def on_invoke_tool(context: ToolContext[WorkflowEditor], arguments: str) -> str:
        try:
            values = read_arguments(arguments, names) if names else {}
        except PatchRejected as error:
            return context.context.refuse((name, arguments), str(error))
        return await invoke(context.context, values)

    return FunctionTool(
        name=name,
        description=description,
        params_json_schema={
            "type": "object",
            "properties": {
                parameter: {"type": "string", "description": text}
                for parameter, text in parameters.items()
            },
            "required": list(parameters),
            "additionalProperties": False,
        },
        on_invoke_tool=on_invoke_tool,
        timeout_behavior="raise_exception",
    )


async def _outline(editor: WorkflowEditor, _values: dict[str, str]) -> str:
    return await editor.outline()


async def _apply_patch(editor: WorkflowEditor, values: dict[str, str]) -> str:
    edit = editor.apply_patch(values["patch"])
    return await _outcome(editor, edit, ("apply_patch", *values.values()), "The patch is applied.")


async def _replace_text(editor: WorkflowEditor, values: dict[str, str]) -> str:
    edit = editor.replace_text(values["old"], values["new"])
    return await _outcome(editor, edit, ("replace_text", *values.values()), "The text is replaced.")


async def _outcome(
    editor: WorkflowEditor, edit: Awaitable[Report], key: tuple[str, ...], done: str
) -> str:
    failpoints.hit("in_tool")
    before = editor.code
    try:
        report = await edit
    except PatchRejected as error:
        return editor.refuse(key, str(error))
    lines = [done, *editor.lost(before), outline_text(report.workflow)]
    found = report.diagnostics[:_MOST_NAMED]
    lines += (f"Still wrong, line {item.line}: {item.message}" for item in found)
    return "\n".join(lines)


async def _sdk_reference(_editor: WorkflowEditor, values: dict[str, str]) -> str:
    return await asyncio.to_thread(describe, values["name"])


outline = _tool(
    "outline",
    "List the agents and tools of the workflow with their lines, tools and handoffs.",
    {},
    {},
    _outline,
)
apply_patch = _tool(
    "apply_patch",
    "Change the workflow module by a patch; the answer says what came of it.",
    {"patch": "A V4A diff of workflow.py: hunks of context, `-` and `+` lines."},
    {"patch": ("input", "diff", "patch_text", "text", "content", "command")},
    _apply_patch,
)
replace_text = _tool(
    "replace_text",
    "Replace a text of the workflow module that occurs exactly once.",
    {
        "old": "The text as it stands in the module, without line numbers.",
        "new": "The text that takes its place; empty to remove it.",
    },
    {
        "old": ("old_text", "old_string", "old_str", "search", "find", "before"),
        "new": ("new_text", "new_string", "new_str", "replace", "replacement", "after"),
    },
    _replace_text,
)
sdk_reference = _tool(
    "sdk_reference",
    "Show signature and documentation of a public name of the installed Agents SDK.",
    {"name": "For example `Agent`, `Agent.as_tool`, `ModelSettings`, `realtime.RealtimeAgent`."},
    {"name": ("symbol", "query", "path", "object")},
    _sdk_reference,
)
