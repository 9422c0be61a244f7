"""The answers of a model's server: their errors, their usage, and their form for the run."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx2
from agents.exceptions import ModelRefusalError
from openai import APIStatusError
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseReasoningItem,
)
from pydantic import BaseModel

from shared.store.records import tokens
from worker.failures import AnswerTruncated, EmptyAnswer, UnusableAnswer
from worker.memory.history import Maker

_OUTPUT_LIMIT = "max_output_tokens"
_FILTERED = "content_filter"
_LONGEST_ERROR = 2000
_STATUSES = (
    (429, ("rate_limit", "quota", "too_many", "resource_exhausted", "slow_down")),
    (503, ("overloaded", "unavailable", "capacity")),
    (401, ("authentication", "invalid_api_key", "unauthorized")),
    (403, ("permission", "forbidden")),
    (404, ("not_found", "notfound")),
    (408, ("timeout",)),
    (400, ("invalid", "bad_request", "badrequest", "context_length")),
)
"""Which status says the same as an error's code or type; the first that fits."""

_DEEPEST = 50
_CUT = 200
_HALF = re.compile("[\ud800-\udfff]")
_HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_NAMES_AN_ITEM = re.compile(
    r"\b(?:rs|msg|fc|ctc|ws|mcp)_[A-Za-z0-9]{4}"
    r"|items? with id|items? are not persisted|duplicate item"
    r"|required (?:following|'?reasoning)|reasoning_content|encrypted[ _]content"
    r"|call[ _]ids?\b|tool[ _](?:calls?|uses?|results?|outputs?)\b"
    r"|(?:input|messages)\[\d+\]\.(?:id|name|call_id|arguments|tool_calls?)\b",
    re.IGNORECASE,
)
_REFUSES_AN_ITEM = frozenset({400, 404, 422})


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
            return {key: encodable(item) for key, item in value.items()}
        case _:
            return value


def parse_json(content: str | bytes) -> Any:
    """Parse a server's body into JSON that every database takes.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    return json.loads(content, parse_float=_float, parse_constant=str)


def _float(text: str) -> float | str:
    # 1e999 would become `Infinity`, which is no JSON
    number = float(text)
    return number if math.isfinite(number) else text


def check_body(body: object, response: httpx2.Response) -> None:
    """Raise the error that a body of status 200 reports, in the form of either API.

    Raises:
        APIStatusError: the body is an error, which another server would have sent with its status.
        AnswerTruncated: the answer ends where a limit cut it off.
        ModelRefusalError: the server's content filter held the answer back.
        UnusableAnswer: it is no object.
    """
    if not isinstance(body, Mapping):
        raise UnusableAnswer
    choice = next(iter(_list(body.get("choices"))), None)
    choice = choice if isinstance(choice, Mapping) else {}
    error = body.get("error") or choice.get("error") or (body.get("object") == "error" and body)
    if error or body.get("status") in {"failed", "cancelled"}:
        raise status_error(error, response)
    reason = choice.get("finish_reason")
    if body.get("status") == "incomplete":
        details = body.get("incomplete_details")
        reason = (isinstance(details, Mapping) and details.get("reason")) or "length"
    match reason:
        case "content_filter":
            raise ModelRefusalError(_FILTERED)
        case "length" | "max_tokens" | "max_output_tokens":
            raise AnswerTruncated(_OUTPUT_LIMIT)
        case str() if body.get("status") == "incomplete":
            raise AnswerTruncated(reason)


def status_error(error: object, response: httpx2.Response) -> APIStatusError:
    """Make of an error in a body of status 200 the exception that its own status would raise."""
    details = dict(error) if isinstance(error, Mapping) else {"message": str(error or "")}
    retry = {name: value for name, value in response.headers.items() if name.startswith("retry")}
    own = httpx2.Response(_status_of(details), headers=retry, request=response.request)
    message = str(details.get("message"))[:_LONGEST_ERROR]
    return APIStatusError(message, response=own, body=details)


def _status_of(error: Mapping[str, Any]) -> int:
    for name in ("status_code", "status", "code"):
        said = str(error.get(name))
        if re.fullmatch("[45][0-9][0-9]", said):
            return int(said)
    said = f"{error.get('code')} {error.get('type')} {error.get('status')}"[:_LONGEST_ERROR].lower()
    said = said.replace("-", "_")
    return next((code for code, names in _STATUSES if any(name in said for name in names)), 500)


def names_an_item(error: APIStatusError) -> bool:
    """Tell whether a server refused a request for an item of the conversation in it."""
    if error.status_code not in _REFUSES_AN_ITEM:
        return False
    words = f"{error.code} {error.param} {error.message}"[:_LONGEST_ERROR]
    return _NAMES_AN_ITEM.search(words) is not None


def usage_of(body: object) -> dict[str, Any] | None:
    """Read the call's tokens from a body; None: it states none, or impossible ones."""
    said = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(said, Mapping):
        return None
    said = {
        str(name).replace("prompt", "input").replace("completion", "output"): value
        for name, value in said.items()
    }
    read, written = (tokens(said.get(f"{kind}_tokens")) for kind in ("input", "output"))
    if read is None or written is None or not (read or written):  # no call costs nothing
        return None
    total = tokens(said.get("total_tokens"))
    return {
        "requests": 1,
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written if total is None else total,
        "input_tokens_details": {"cached_tokens": 0} | _details(said, "input"),
        "output_tokens_details": {"reasoning_tokens": 0} | _details(said, "output"),
    }


def _details(said: Mapping[str, Any], kind: str) -> dict[str, int]:
    details = said.get(f"{kind}_tokens_details")
    found = details.items() if isinstance(details, Mapping) else ()
    return {str(name): count for name, value in found if (count := tokens(value)) is not None}


def check_output(output: Sequence[object]) -> None:
    """Refuse an answer that would break the run later, where its cause could not be seen.

    Raises:
        EmptyAnswer: there is no text and no call.
        UnusableAnswer: a part of it does not have its documented form.
    """
    if not all(map(_is_usable, output)):
        raise UnusableAnswer
    if not any(map(_says_something, output)):
        raise EmptyAnswer


def _is_usable(item: object) -> bool:
    match item:
        case ResponseOutputMessage(content=list()):
            return all(isinstance(text, str) for text in _texts(item))
        case ResponseFunctionToolCall(name=str(name), arguments=str()):
            return bool(name)
        case ResponseOutputMessage() | ResponseFunctionToolCall():
            return False
        case _:
            return isinstance(item, BaseModel | dict)


def _says_something(item: object) -> bool:
    match item:
        case ResponseReasoningItem():
            return False
        case ResponseOutputMessage():
            return any(text.strip() for text in _texts(item))
        case _:
            return True


def _texts(message: ResponseOutputMessage) -> Iterator[Any]:
    for part in message.content:
        yield part.refusal if isinstance(part, ResponseOutputRefusal) else part.text


def exact_name(name: str, tools: Iterable[str]) -> str:
    """Return the name of the one tool that a model means by a name; the name itself: none or many.

    Models write `Apply_Patch`, `functions.apply_patch`, or `apply_patch<|channel|>commentary`.
    """
    known = set(tools)
    if name in known:
        return name
    meant = [tool for tool in known if _normal(tool) == _normal(name)]
    return meant[0] if len(meant) == 1 else name


def _normal(name: str) -> str:
    said = name.partition("<|")[0].strip().rpartition(".")[2].partition(":")[0]
    return said.strip().replace("-", "_").casefold()


def make_encodable(output: Iterable[object]) -> None:
    """Write half a character in a call so that UTF-8 can: the SDK would fail at the call.

    Arguments are encoded once more; the tool that decodes them says what is wrong with them. So it
    does of those that are nested deeper than the SDK can read, which are cut off.
    """
    for item in output:
        if isinstance(item, ResponseFunctionToolCall):
            item.name, item.call_id = encodable(item.name), encodable(item.call_id)
            item.arguments = _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", item.arguments)
            if _HALF_ESCAPED.search(item.arguments) and _has_half(item.arguments):
                item.arguments = json.dumps(item.arguments)
            if _is_deep(item.arguments):
                item.arguments = item.arguments[:_CUT]


def _has_half(arguments: str) -> bool:
    try:
        json.dumps(json.loads(arguments), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def _is_deep(arguments: str) -> bool:
    try:
        level = [json.loads(arguments)]
    except RecursionError:
        return True
    except ValueError:
        return False
    for _ in range(_DEEPEST):
        level = [inner for item in level for inner in _elements(item)]
    return bool(level)


def _elements(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def make_id_unique(call: ResponseFunctionToolCall, taken: set[str]) -> None:
    """Give a call another id if the server's is empty or one that an earlier call has.

    Before the run sees it: so the call and its output have the same.
    """
    call_id: object = call.call_id
    if not isinstance(call_id, str) or not call_id or call_id in taken:
        call.call_id = f"call_{uuid4().hex}"
    taken.add(call.call_id)


def sign(output: Iterable[object], maker: Maker) -> None:
    """Write its maker on each item, for the model that gets it as history."""
    for item in output:
        if isinstance(item, BaseModel):
            known = getattr(item, "provider_data", None)
            signed = (known if isinstance(known, dict) else {}) | maker.note()
            item.provider_data = signed  # type: ignore[attr-defined]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
