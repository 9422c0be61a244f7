"""What is kept of a call of the model: the call, its tokens, and what the server sent."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from agents import ModelResponse, Usage
from agents.usage import deserialize_usage
from openai import APIStatusError


@dataclass(frozen=True)
class ModelCall:
    """One call of a model, as it went; `number` counts from 1 within the attempt.

    `request` is the body that it got, without the conversation, which the session's items are;
    `raw` is the body that the server sent (None if it was an error or no JSON), for models
    without a server what they returned. `error` is the kind of error, without its words.
    """

    number: int
    model: str
    response_id: str | None
    request_id: str | None
    request: dict[str, Any] | None
    usage: dict[str, Any] | None
    raw: Any
    error: str | None
    started_at: float
    ended_at: float


def text(value: object) -> str | None:
    """Return what should be a text; None: it is something else."""
    return value if isinstance(value, str) else None


def kind_of(error: BaseException) -> str:
    """Name the kind of an error, without its words."""
    match error:
        case APIStatusError(status_code=status):
            return f"{status} {type(error).__name__}"
        case _:
            return type(error).__name__


def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the server is sent; of the conversation, which only grows, how many items.

    Stored with each call, a long conversation would take the square of its length.
    """
    items = body.get("input") or body.get("messages") or []
    told = [item for item in items if item.get("role") in ("system", "developer")]
    rest = {name: value for name, value in body.items() if name not in ("input", "messages")}
    return rest | {"input": told, "input_items": len(items) - len(told)}


def body_of(response: httpx2.Response | None) -> Any:
    """Read what the server sent; None: it is an error, or no JSON."""
    # The body of an error stays out: it may quote the prompt or a part of the service's key.
    if response is None or response.status_code != httpx2.codes.OK:
        return None
    try:
        return json.loads(response.content, parse_float=_float, parse_constant=str)
    except (httpx2.ResponseNotRead, ValueError, RecursionError):
        return None


def _float(text: str) -> float | str:
    # 1e999 would become `Infinity`, which is no JSON and which no database takes.
    number = float(text)
    return number if math.isfinite(number) else text


def dump(answer: ModelResponse) -> dict[str, Any]:
    """Give what a model without a server returned in the form of a body."""
    return {
        "id": answer.response_id,
        "output": answer.to_input_items(),
        "usage": usage_json(answer.usage),
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """Give the tokens of a call as they are stored."""
    return {
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": usage.input_tokens_details.model_dump(),
        "output_tokens_details": usage.output_tokens_details.model_dump(),
    }


def spent(body: dict[str, Any]) -> dict[str, Any] | None:
    """Read from a body what the call cost; None: it does not say."""
    counts = body.get("usage")
    if not isinstance(counts, dict):
        return None
    named = {
        key.replace("prompt", "input").replace("completion", "output"): value
        for key, value in counts.items()
    }
    try:
        return usage_json(deserialize_usage({"requests": 1, **named}))
    except (TypeError, ValueError):
        return None
