# The signatures are the SDK's.
# ruff: noqa: A002, ARG002, PLR0917
"""The offline model: no network, no key, a few rules; for the first ten minutes and for tests."""

import asyncio
import difflib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelResponse, ModelSettings, ModelTracing, Usage
from agents.agent_output import AgentOutputSchemaBase
from agents.handoffs import Handoff
from agents.items import TResponseInputItem, TResponseOutputItem, TResponseStreamEvent
from agents.tool import Tool
from openai.types.responses import (
    Response,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponsePromptParam,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from shared.settings import OFFLINE
from shared.workflow.checker import CodeChecker
from shared.workflow.limits import can_compare
from worker.agent.instructions import read_briefing
from worker.agent.patch import apply_patch
from worker.agent.patch_text import PatchRejected
from worker.agent.source import Source
from worker.offline.events import stream_events

_APPLIED = "The patch is applied."
_CHARACTERS_PER_TOKEN = 4
_CONTEXTS = (3, 12, 1_000_000)
_MOST_SAID = 200
_LONGEST_SAID = 4_000


class OfflineModel(Model):
    """A model of rules; what it does depends on instructions and input alone, ids are random."""

    def __init__(self, checker: CodeChecker, *, owner: str) -> None:
        """Let the `checker` read code, in the turn of the project's `owner`."""
        self._checker = checker
        self._owner = owner

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> ModelResponse:
        """Answer in one piece."""
        response = await self._respond(system_instructions, input)
        assert response.usage is not None
        return ModelResponse(
            output=response.output,
            usage=_usage(response.usage),
            response_id=response.id,
            raw_usage=response.usage.model_dump() if model_settings.preserve_raw_usage else None,
        )

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Answer as the Responses API streams, text in several pieces."""
        for event in stream_events(await self._respond(system_instructions, input)):
            yield event

    async def _respond(
        self, instructions: str | None, input: str | list[TResponseInputItem]
    ) -> Response:
        asked: list[Any] = [{"role": "user", "content": input}]
        items = asked if isinstance(input, str) else [*input]
        return _response(instructions, items, await self._output(instructions or "", items))

    async def _output(self, instructions: str, items: list[Any]) -> TResponseOutputItem:
        last = max((n for n, item in enumerate(items) if item.get("role") == "user"), default=-1)
        prompt = _text(items[last]) if items and last >= 0 else ""
        said = [text for item in items[: max(last, 0)] if (text := _text(item))]
        outcomes = [_text(item) for item in items[last + 1 :] if _is_output(item)]
        briefing = read_briefing(instructions)
        plan = await self._checker.call(
            "worker.offline.plan:plan",
            owner=self._owner,
            prompt=prompt,
            code=briefing.code,
            node_id=briefing.node_id,
            said=[text[:_LONGEST_SAID] for text in said[-_MOST_SAID:]],
        )
        match plan:
            case {"answer": text}:
                return _message(text)
            case {"code": _, "summary": summary} if outcomes:
                return _message(_report(summary, outcomes[-1]))
            case {"code": code}:
                # difflib takes its time with a large module, in which the loop's other runs go on
                patch = await asyncio.to_thread(patch_between, briefing.code, code)
                if patch is None:
                    return _message("I cannot write that as a patch. Nothing was changed.")
                return _call("apply_patch", {"patch": patch})
            case _:
                return _message(_description(outcomes[-1])) if outcomes else _call("outline", {})


def _response(instructions: str | None, items: list[Any], output: TResponseOutputItem) -> Response:
    asked = _tokens(instructions or "", *(json.dumps(item, default=str) for item in items))
    answered = _tokens(output.model_dump_json())
    return Response(
        id=f"resp_{uuid.uuid4().hex}",
        created_at=0,
        model=OFFLINE,
        object="response",
        output=[output],
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=False,
        status="completed",
        usage=ResponseUsage(
            input_tokens=asked,
            input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
            output_tokens=answered,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
            total_tokens=asked + answered,
        ),
    )


def patch_between(before: str, after: str) -> str | None:
    """Return a V4A diff from one module to the other, or None if the format cannot say it."""
    old, new = (text.replace("\r\n", "\n").split("\n") for text in (before, after))
    if not can_compare(old, new):
        return None
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for context in _CONTEXTS:
        lines: list[str] = []
        for group in matcher.get_grouped_opcodes(context):
            lines.append("@@")
            for tag, i, j, k, m in group:
                lines += [f" {line}" for line in old[i:j] if tag == "equal"]
                lines += [f"-{line}" for line in old[i:j] if tag != "equal"]
                lines += [f"+{line}" for line in new[k:m] if tag != "equal"]
        patch = "\n".join(lines) + "\n"
        if _makes(before, patch, after):
            return patch
    return None


def _makes(before: str, patch: str, after: str) -> bool:
    # a hunk whose context stands twice is refused: try more context
    try:
        made = apply_patch(Source.read(before), patch).text
    except PatchRejected:
        return False
    return made.replace("\r\n", "\n") == after.replace("\r\n", "\n")


def _report(summary: str, outcome: str) -> str:
    if outcome.startswith(_APPLIED):
        return summary
    reason = outcome.removeprefix("Nothing was changed. ").split("\n")[0]
    return f"I could not do that. {reason} Nothing was changed."


def _description(outline: str) -> str:
    return f"This is the workflow as it stands:\n{outline}"


def _is_output(item: Any) -> bool:
    return bool(item.get("type") == "function_call_output")


def _text(item: Any) -> str:
    content = item.get("output") if _is_output(item) else item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _message(text: str) -> ResponseOutputMessage:
    return ResponseOutputMessage(
        id=f"msg_{uuid.uuid4().hex}",
        type="message",
        role="assistant",
        status="completed",
        content=[ResponseOutputText(text=text, type="output_text", annotations=[], logprobs=[])],
    )


def _call(name: str, arguments: dict[str, str]) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id=f"fc_{uuid.uuid4().hex}",
        call_id=f"call_{uuid.uuid4().hex}",
        type="function_call",
        name=name,
        arguments=json.dumps(arguments),
        status="completed",
    )


def _tokens(*texts: str) -> int:
    return sum(len(text) for text in texts) // _CHARACTERS_PER_TOKEN + 1


def _usage(usage: ResponseUsage) -> Usage:
    return Usage(
        requests=1,
        input_tokens=usage.input_tokens,
        input_tokens_details=usage.input_tokens_details,
        output_tokens=usage.output_tokens,
        output_tokens_details=usage.output_tokens_details,
        total_tokens=usage.total_tokens,
    )
