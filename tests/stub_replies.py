"""What the OpenAI stub answers: directives in the prompt, bodies and events as the API sends them.

Directives stand in the last user text; each may end in `times N` (only the first N calls with
that text):

    [[delay 0.5]]   [[hang]]   [[broken]]   [[garbage]]   [[garbage <literal body>]]
    [[status 429 retry-after 0.2 times 2]]  [[status 400 code context_length_exceeded]]
    [[after 1 status 500]] (not for the first call; with `times N` for N calls then)
    [[pace 0.05]] (seconds before each event of a stream)
    [[say TEXT with \\ud800]]   [[refuse]]   [[incomplete]]   [[filtered]]   [[empty]]
    [[tool NAME {"json": "arguments"}]]   [[calls {"calls": [{"name": "N", "arguments": "text"}]}]]
    [[usage {"usage": null}]] (instead of the true one)
    [[error {"code": "rate_limit_exceeded"}]] (an error with status 200)   [[chunks]] (bad framing)
    [[events event: NAME|{"data": 1}]] (a stream of this one event, whose name may be left out)

Several tools are called one after the other, each once; `calls` makes all of its calls in one
answer. Without `say` the reply is `echo N: <prompt>`, N being the number of conversation items in
the request, the prompt included.

The name of the model says what its server is like, in words between hyphens (`strict-a`):

    strict: it refuses items that no real server takes, and ids that are not its own
    forgets: it keeps no items, so it knows no id
    thinks: it reasons before each answer; over Chat Completions it wants that back with each call
    uncounted: it sends no usage
    zero, blank: all of its calls have the id `call_0`, or none
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

_WITH_JSON = frozenset({"tool", "calls", "usage", "error"})
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
        start = match.end()
        if match[1] in _WITH_JSON:
            start = json.JSONDecoder().raw_decode(text, text.index("{", start))[1]
        position = text.index("]]", start)
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
    conversation: list[Json]

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
        return cls(path, body, len(content), prompt, len(items), len(outputs), items)

    @property
    def model(self) -> str:
        """Name the model that is asked."""
        return str(self.body.get("model"))

    def has(self, trait: str) -> bool:
        """Tell what the model's name says of its server."""
        return trait in self.model.split("-")


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
    filtered: bool = False
    empty: bool = False
    calls: tuple[Json, ...] = ()
    usage: Json | None = None


_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")


def answer(call: Call, script: list[Directive]) -> Answer:
    """Decide what is said to a call."""
    said = {directive.name: directive.argument for directive in script}
    usage = json.loads(said["usage"]) if "usage" in said else None
    ends: dict[str, Any] = {name: name in said for name in ("incomplete", "filtered", "empty")}
    answered = 0
    for calls in (_calls(one) for one in script if one.name in {"tool", "calls"}):
        if answered == call.outputs:
            return Answer(calls=calls, usage=usage, **ends)
        answered += len(calls)
    text = said.get("say", f"echo {call.items}: {call.prompt}")
    text = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text)  # also half a pair
    return Answer(text, refusal="refuse" in said, usage=usage, **ends)


def _calls(directive: Directive) -> tuple[Json, ...]:
    if directive.name == "calls":
        return tuple(json.loads(directive.argument)["calls"])
    name, _, arguments = directive.argument.partition(" ")
    return ({"name": name, "arguments": arguments},)


def _usage(call: Call, reply: Answer, names: tuple[str, str]) -> Json | None:
    if reply.usage is not None:
        told: Json | None = reply.usage.get("usage")
        return told
    if call.has("uncounted"):
        return None
    arguments = "".join(str(one.get("arguments")) for one in reply.calls)
    read, written = call.size // 4, 1 + len(reply.text + arguments) // 4
    return {
        f"{names[0]}_tokens": read,
        f"{names[0]}_tokens_details": {"cached_tokens": read // 2},
        f"{names[1]}_tokens": written,
        f"{names[1]}_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def response_body(call: Call, reply: Answer) -> Json:
    """Build the body of a Responses API answer."""
    number = next(_SENT)
    status = "incomplete" if reply.filtered or reply.incomplete else "completed"
    cut = "content_filter" if reply.filtered else "max_output_tokens"
    return {
        "id": f"resp_{number:032x}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": cut} if status == "incomplete" else None,
        "model": f"{call.model}-2026-01-01",
        "output": list(_output_items(call, reply, number, status)),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": call.body.get("tools", []),
        "usage": _usage(call, reply, ("input", "output")),
        "x_vendor": VENDOR,
    }


def _output_items(call: Call, reply: Answer, number: int, status: str) -> Iterator[Json]:
    if call.has("thinks"):
        yield {"id": f"rs_{number:028x}0000", "type": "reasoning", "summary": []}
    for place, one in enumerate(reply.calls):
        yield {
            "id": f"fc_{number:028x}{place:04x}",
            "type": "function_call",
            "status": status,
            "call_id": _call_id(call, number, place),
            **one,
        }
    if reply.calls or reply.empty:
        return
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
    refusal = {"type": "refusal", "refusal": "I cannot help with that."}
    yield {
        "id": f"msg_{number:028x}0000",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [refusal if reply.refusal else text],
    }


def _call_id(call: Call, number: int, place: int) -> str:
    if call.has("blank"):
        return ""
    return "call_0" if call.has("zero") else f"call_{number:020x}{place:04x}"


def completion_body(call: Call, reply: Answer) -> Json:
    """Build the body of a Chat Completions answer."""
    number = next(_SENT)
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
    if call.has("thinks"):
        message["reasoning_content"] = f"I think of {number}."
    if reply.refusal:
        message |= {"content": None, "refusal": "I cannot help with that."}
    if reply.empty:
        message["content"] = ""
    if reply.calls:
        calls = [
            {"id": _call_id(call, number, place), "type": "function", "function": one}
            for place, one in enumerate(reply.calls)
        ]
        message |= {"content": None, "tool_calls": calls}
    ends = {
        "content_filter": reply.filtered,
        "length": reply.incomplete,
        "tool_calls": reply.calls,
        "stop": True,
    }
    end = next(name for name, applies in ends.items() if applies)
    return {
        "id": f"chatcmpl-{number:029x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": f"{call.model}-2026-01-01",
        "choices": [{"index": 0, "message": message, "finish_reason": end}],
        "usage": _usage(call, reply, ("prompt", "completion")),
        "x_vendor": VENDOR,
    }


def response_events(body: Json) -> Iterator[Json]:
    """Turn a Responses body into the events of its stream."""
    empty = {**body, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": empty}
    yield {"type": "response.in_progress", "response": empty}
    for index, item in enumerate(body["output"]):
        yield from _item_events(item, index)
    yield {"type": f"response.{body['status']}", "response": body}


def _item_events(item: Json, index: int) -> Iterator[Json]:
    place: Json = {"item_id": item["id"], "output_index": index}
    unsaid: Json = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    opened = {**item, "status": "in_progress", **unsaid}
    yield {"type": "response.output_item.added", "output_index": index, "item": opened}
    if item["type"] == "function_call":
        kind = "response.function_call_arguments"
        yield {"type": f"{kind}.delta", **place, "delta": item["arguments"]}
        yield {"type": f"{kind}.done", **place, "arguments": item["arguments"]}
    elif item["type"] == "message":
        yield from _content_events(item["content"][0], {**place, "content_index": 0})
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


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
    calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", []))]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    if thought := message.get("reasoning_content"):
        deltas += [{"reasoning_content": word} for word in re.findall(r"\s*\S+\s*", thought)]
    deltas += [{"content": word} for word in re.findall(r"\s*\S+\s*", message["content"] or "")]
    deltas += [{"refusal": message["refusal"]}] if message["refusal"] else []
    deltas += [{"tool_calls": calls}] if calls else []
    chunk = {**body, "object": "chat.completion.chunk", "usage": None}
    for delta in deltas:
        yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield {**chunk, "choices": [end]}
    if body["usage"] is not None:
        yield {**chunk, "choices": [], "usage": body["usage"]}
