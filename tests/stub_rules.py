"""What real servers of models refuse in a conversation, and the words in which they do."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.stub_replies import Call, Json

_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class Refusal:
    """An error for a request; `param` is what it names."""

    message: str
    status: int = 400
    param: str | None = None


def refusal(call: Call, kept: set[str]) -> Refusal | None:
    """Say why a server would refuse a request; `kept`: the ids of the items that it keeps."""
    chat = call.path.endswith("chat/completions")
    rules: list[Iterator[Refusal]] = []
    if call.has("forgets") and not chat:
        rules.append(_unknown_ids(call.conversation, set()))
    if call.has("strict") and chat:
        rules.append(_chat_faults(call.conversation))
    elif call.has("strict"):
        rules += [_unknown_ids(call.conversation, kept), _faults(call.conversation)]
    if call.has("thinks") and chat:
        rules.append(_lost_thoughts(call.conversation))
    return next((found for rule in rules for found in rule), None)


def _unknown_ids(items: Sequence[Json], kept: set[str]) -> Iterator[Refusal]:
    for item in items:
        if "id" in item and item["id"] not in kept:
            yield Refusal(
                f"Item with id '{item['id']}' not found. Items are not persisted when `store` is "
                "set to false. Try again with `store` set to true, or remove this item from your "
                "input.",
                404,
                "input",
            )


def _faults(items: Sequence[Json]) -> Iterator[Refusal]:
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    for one in set(calls) - set(outputs):
        yield Refusal(f"No tool output found for function call {one}.")
    for one in set(outputs) - set(calls):
        yield Refusal(f"No tool call found for function call output with call_id {one}.")
    for one in _repeated([item["id"] for item in items if "id" in item]):
        yield Refusal(f"Duplicate item found with id {one}.")
    for one in (*_repeated(calls), *_repeated(outputs)):
        yield Refusal(f"Duplicate call_id {one}.")
    for place, item in enumerate(items):
        if item.get("type") == "function_call":
            yield from _call_faults(f"input[{place}]", item, item["call_id"])
    for thought, after in pairwise([*items, {}]):
        if thought.get("type") == "reasoning" and _number(after) != _number(thought):
            yield Refusal(
                f"Item '{thought['id']}' of type 'reasoning' was provided without its required "
                "following item."
            )


def _number(item: Json) -> str:
    return str(item.get("id")).partition("_")[2][:28]


def _call_faults(place: str, function: Json, call_id: str) -> Iterator[Refusal]:
    if not _NAME.fullmatch(function["name"]):
        yield Refusal(f"Invalid '{place}.name': string does not match pattern.")
    if not call_id:
        yield Refusal(f"Invalid '{place}.call_id': empty string.")
    try:
        parsed = json.loads(function["arguments"], parse_constant=_refuse)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        yield Refusal(f"Invalid '{place}.arguments': expected a JSON object in a string.")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _chat_faults(messages: Sequence[Json]) -> Iterator[Refusal]:
    waiting: list[str] = []
    seen: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield Refusal(
                    "messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'."
                )
                return
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            yield Refusal(
                "An assistant message with 'tool_calls' must be followed by tool messages "
                f"responding to each 'tool_call_id'. These did not: {waiting}"
            )
        for call in message.get("tool_calls", []):
            yield from _call_faults(f"messages[{place}]", call["function"], call["id"])
            waiting.append(call["id"])
            seen.append(call["id"])
    for one in _repeated(seen):
        yield Refusal(f"Duplicate tool_call_id {one}.")


def _lost_thoughts(messages: Sequence[Json]) -> Iterator[Refusal]:
    for place, message in enumerate(messages):
        if message.get("tool_calls") and not message.get("reasoning_content"):
            yield Refusal(
                "thinking is enabled but reasoning_content is missing in assistant tool call "
                f"message at index {place}"
            )


def _repeated(ids: Sequence[str]) -> Iterator[str]:
    return (one for one, times in Counter(ids).items() if times > 1)
