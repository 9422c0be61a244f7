"""The full response of a run, in the form in which it is stored."""

from collections.abc import Sequence
from typing import Any

from agents import RunItem, ToolCallItem, ToolCallOutputItem
from openai.types.responses import ResponseFunctionToolCall

from worker.model.client import ModelCall


def responses(calls: Sequence[ModelCall]) -> list[dict[str, Any]]:
    """List the model's calls with the bodies that its server sent."""
    return [dict(vars(call)) for call in calls]  # asdict would copy the bodies


def tool_calls(items: Sequence[RunItem]) -> list[dict[str, Any]]:
    """List the run's tool calls with their arguments and outputs, in the order of the calls."""
    outputs = {
        item.raw_item.get("call_id"): item.output
        for item in items
        if isinstance(item, ToolCallOutputItem) and isinstance(item.raw_item, dict)
    }
    calls = [item.raw_item for item in items if isinstance(item, ToolCallItem)]
    return [
        {
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
            "output": outputs.get(call.call_id),
        }
        for call in calls
        if isinstance(call, ResponseFunctionToolCall)
    ]
