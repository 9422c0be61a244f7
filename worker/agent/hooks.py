"""What of a run is worth telling: the SDK's hooks, turned into events."""

from typing import Any

from agents import RunContextWrapper, RunHooks, Tool
from agents.agent import AgentBase
from agents.tool_context import ToolContext
from typing_extensions import override

from shared.tables import EventKind
from shared.workflow.text import unified_diff
from worker.agent.tools import WorkflowEditor
from worker.recorder import RunEvents


class Reporter(RunHooks[WorkflowEditor]):
    """Reports each call of a tool, its answer, and the change of the code that it made."""

    def __init__(self, events: RunEvents, code: str) -> None:
        self._events = events
        self._code = code

    @override
    async def on_tool_start(
        self, context: RunContextWrapper[WorkflowEditor], agent: AgentBase[Any], tool: Tool
    ) -> None:
        data = {"call_id": _call_id(context), "name": tool.name}
        if isinstance(context, ToolContext):
            data["arguments"] = context.tool_arguments
        self._events.happened(EventKind.TOOL_CALLED, data)

    @override
    async def on_tool_end(
        self,
        context: RunContextWrapper[WorkflowEditor],
        agent: AgentBase[Any],
        tool: Tool,
        result: object,
    ) -> None:
        data = {"call_id": _call_id(context), "name": tool.name, "output": str(result)}
        self._events.happened(EventKind.TOOL_ANSWERED, data)
        before, after = self._code, context.context.code
        if before != after:
            self._code = after
            # made when somebody wants to know: a diff takes longer than all the rest here
            self._events.happened(
                EventKind.CODE_CHANGED, lambda: {"diff": unified_diff(before, after)}
            )


def _call_id(context: RunContextWrapper[WorkflowEditor]) -> str | None:
    return context.tool_call_id if isinstance(context, ToolContext) else None
