"""What a model may answer: what would break a run, or the next request."""

import json
from collections.abc import Sequence
from typing import Any

from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage
from pydantic import BaseModel

from worker.failures import UnusableAnswer

_DEEPEST = 50
_CUT = 200


def encodable(value: Any) -> Any:
    """Return JSON that a request can carry."""
    # A model may write half of a surrogate pair; the conversation remembers it as it is, but no
    # request can carry it: without this the session would fail for ever.
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [encodable(item) for item in value]
        case dict():
            return {encodable(key): encodable(item) for key, item in value.items()}
        case _:
            return value


def readable_arguments(arguments: str) -> str:
    """Return a call's arguments as the SDK can read them: its own reading fails the whole run.

    Half a character becomes U+FFFD, also one that is escaped; what is nested too deeply is cut off,
    so that it is no JSON.
    """
    try:
        value = json.loads(arguments)
    except RecursionError:
        return arguments[:_CUT]
    except ValueError:
        return str(encodable(arguments))
    if _is_deep(value):
        return arguments[:_CUT]
    whole = encodable(value)
    return arguments if whole == value else json.dumps(whole)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, list | dict)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def check_answer(output: Sequence[object], tokens: int) -> None:
    """Raise UnusableAnswer for what would break the run later, where nobody could say why."""
    if not all(map(_is_usable, output)) or not (output or tokens):
        raise UnusableAnswer


def _is_usable(item: object) -> bool:
    match item:
        case ResponseOutputMessage():
            return all(map(_is_said, item.content))
        case ResponseFunctionToolCall(name=name, arguments=arguments, call_id=call_id):
            return all(isinstance(value, str) for value in (name, arguments, call_id))
        case _:
            return isinstance(item, BaseModel | dict)


def _is_said(part: object) -> bool:
    return isinstance(getattr(part, "text", getattr(part, "refusal", None)), str)
