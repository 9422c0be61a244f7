"""What the OpenAI stub answers: directives in the prompt, bodies and events as the API sends them.

Directives stand in the last user text; each may end in `times N` (only the first N calls with
that text):

    [[delay 0.5]]   [[hang]]   [[broken]]   [[garbage]]   [[garbage <literal body>]]
    [[status 429 retry-after 0.2 times 2]]  [[status 400 code context_length_exceeded]]
    [[after 1 status 500]] (not for the first call; with `times N` for N calls then)
    [[pace 0.05]] (seconds before each event of a stream)
    [[say TEXT with \\ud800]]   [[refuse]]   [[incomplete]]   [[tool NAME {"json": "arguments"}]]

Several tools are called one after the other, each once. Without `say` the reply is
`echo N: <prompt>`, N being the number of conversation items in the request, the prompt included.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from pydantic_core import from_json

from tests.canaries import MODEL_BODY

Json = dict[str, Any]

_OPENING = re.compile(r"\[\[(\w+) ?")
_TIMES = re.compile(r"\s*times (\d+)$")
_SENT = count(1)

# What no client model knows: it must survive a round trip as it is.
VENDOR = {
    "big": 123456789012345678901234567890,
    "whole": 1,
    "float": 1.0,
    "tiny": 1e-07,
    "accents": "é 😀",
    "lone": "\ud83d",
    "nul": "\x00",
    "planted": MODEL_BODY,
    "zulu": [{"nested": None}],
    "alpha": True,
}


@dataclass(frozen=True)
class Directive:
    """One `[[...]]` of a prompt."""

    name: str
    argument: str = ""
    times: int | None = None

    def option(self, name: str) -> str | None:
        """Return the word after `name` in the argument."""
        words = self.argument.split()
        return words[words.index(name) + 1] if name in words else None


def directives(text: str) -> Iterator[Directive]:
    """Find the directives of a prompt; the JSON of a `tool` may contain brackets."""
    position = 0
    while match := _OPENING.search(text, position):
        if match[1] == "tool":
            start = text.index("{", match.end())
            position = json.JSONDecoder().raw_decode(text, start)[1]
        else:
            position = text.index("]]", match.end())
        argument = text[match.end() : position]
        times = _TIMES.search(argument)
        yield Directive(
            match[1], argument[: times.start()] if times else argument, times and int(times[1])
        )


@dataclass(frozen=True)
class Call:
    """What the stub needs to know of a request."""

    path: str
    body: Json
    size: int
    prompt: str
    items: int
    outputs: int

    @classmethod
    def of(cls, path: str, content: bytes) -> "Call":
        """Read a Responses or a Chat Completions request."""
        body = _parsed(content)
        items: Any = body.get("input", body.get("messages", []))
        items = [{"role": "user", "content": items}] if isinstance(items, str) else items
        items = [item for item in items if item.get("role") not in ("system", "developer")]
        last = max((i for i, item in enumerate(items) if item.get("role") == "user"), default=-1)
        prompt = _text(items[last]["content"]) if items else ""
        outputs = [i for i in items[last + 1 :] if _is_tool_output(i)]
        return cls(path, body, len(content), prompt, len(items), len(outputs))


def _parsed(content: bytes) -> Json:
    body: Json
    try:
        body = from_json(content)  # in half the time: a long conversation is the service's to bear
    except ValueError:  # half a character
        body = json.loads(content)
    return body


def _is_tool_output(item: Json) -> bool:
    return item.get("type") == "function_call_output" or item.get("role") == "tool"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


@dataclass(frozen=True)
class Answer:
    """What the model says: a text, a refusal or a tool call."""

    text: str = ""
    refusal: bool = False
    incomplete: bool = False
    tool: str | None = None
    arguments: str = "{}"


_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")


def answer(call: Call, script: list[Directive]) -> Answer:
    """Decide what is said to a call."""
    tools = [directive for directive in script if directive.name == "tool"]
    if call.outputs < len(tools):
        name, _, arguments = tools[call.outputs].argument.partition(" ")
        return Answer(tool=name, arguments=arguments)
    said = {directive.name: directive.argument for directive in script}
    text = said.get("say", f"echo {call.items}: {call.prompt}")
    text = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text)  # also half a pair
    return Answer(text, refusal="refuse" in said, incomplete="incomplete" in said)


def _usage(call: Call, reply: Answer, names: tuple[str, str]) -> Json:
    read, written = call.size // 4, 1 + len(reply.text + reply.arguments) // 4
    return {
        f"{names[0]}_tokens": read,
        f"{names[0]}_tokens_details": {"cached_tokens": read // 2},
        f"{names[1]}_tokens": written,
        f"{names[1]}_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def response_body(call: Call, reply: Answer) -> Json:
    """Build the body of a Responses API answer."""
    number, status = next(_SENT), "incomplete" if reply.incomplete else "completed"
    return {
        "id": f"resp_{number:032x}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if reply.incomplete else None,
        "model": f"{call.body.get('model')}-2026-01-01",
        "output": [_output_item(reply, number, status)],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": call.body.get("tools", []),
        "usage": _usage(call, reply, ("input", "output")),
        "x_vendor": VENDOR,
    }


def _output_item(reply: Answer, number: int, status: str) -> Json:
    if reply.tool:
        return {
            "id": f"fc_{number:032x}",
            "type": "function_call",
            "status": status,
            "call_id": f"call_{number:024x}",
            "name": reply.tool,
            "arguments": reply.arguments,
        }
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
    refusal = {"type": "refusal", "refusal": "I cannot help with that."}
    return {
        "id": f"msg_{number:032x}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [refusal if reply.refusal else text],
    }


def completion_body(call: Call, reply: Answer) -> Json:
    """Build the body of a Chat Completions answer."""
    number, end = next(_SENT), "tool_calls" if reply.tool else "stop"
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.refusal:
        message |= {"content": None, "refusal": "I cannot help with that."}
    if reply.tool:
        function = {"name": reply.tool, "arguments": reply.arguments}
        tool_call = {"id": f"call_{number:024x}", "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [tool_call]}
    return {
        "id": f"chatcmpl-{number:029x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": f"{call.body.get('model')}-2026-01-01",
        "choices": [{"index": 0, "message": message, "finish_reason": end}],
        "usage": _usage(call, reply, ("prompt", "completion")),
        "x_vendor": VENDOR,
    }


def response_events(body: Json) -> Iterator[Json]:
    """Turn a Responses body into the events of its stream."""
    item = body["output"][0]
    empty = {**body, "status": "in_progress", "output": [], "usage": None}
    place: Json = {"item_id": item["id"], "output_index": 0}
    yield {"type": "response.created", "response": empty}
    yield {"type": "response.in_progress", "response": empty}
    unsaid: Json = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    opened = {**item, "status": "in_progress", **unsaid}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
    if item["type"] == "function_call":
        kind = "response.function_call_arguments"
        yield {"type": f"{kind}.delta", **place, "delta": item["arguments"]}
        yield {"type": f"{kind}.done", **place, "arguments": item["arguments"]}
    else:
        yield from _content_events(item["content"][0], {**place, "content_index": 0})
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": f"response.{body['status']}", "response": body}


def _content_events(part: Json, place: Json) -> Iterator[Json]:
    key = "refusal" if part["type"] == "refusal" else "text"
    kind = "response.refusal" if key == "refusal" else "response.output_text"
    extra: Json = {} if key == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": {**part, key: ""}}
    for word in re.findall(r"\s*\S+\s*", part[key]):
        yield {"type": f"{kind}.delta", **place, "delta": word, **extra}
    yield {"type": f"{kind}.done", **place, key: part[key], **extra}
    yield {"type": "response.content_part.done", **place, "part": part}


def completion_events(body: Json) -> Iterator[Json]:
    """Turn a Chat Completions body into the chunks of its stream."""
    choice = body["choices"][0]
    message = choice["message"]
    calls = [{"index": 0, **call} for call in message.get("tool_calls", [])]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in re.findall(r"\s*\S+\s*", message["content"] or "")]
    deltas += [{"refusal": message["refusal"]}] if message["refusal"] else []
    deltas += [{"tool_calls": calls}] if calls else []
    chunk = {**body, "object": "chat.completion.chunk", "usage": None}
    for delta in deltas:
        yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield {**chunk, "choices": [end]}
    yield {**chunk, "choices": [], "usage": body["usage"]}
