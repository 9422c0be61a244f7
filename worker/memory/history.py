"""The history that a model gets: cut at message borders, and valid for the model that gets it.

Each item that a model's server made carries the name of its maker in `provider_data`, a field that
the Agents SDK reserves for this. Server-side ids and reasoning mean something to their maker alone,
so every other model gets the item without them. What servers refuse (a call without its output, an
id that repeats, arguments that are no JSON) is repaired in what is sent; stored items stay as they
are.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from agents.models.fake_id import FAKE_RESPONSES_ID
from pydantic_core import from_json

Item = Mapping[str, Any]
Api = Literal["responses", "chat_completions"]

_INTERNAL = frozenset({"created_by", "_agents_tool_description", "_agents_tool_title"})
_NOT_FOR_RESPONSES = _INTERNAL | {"provider_data"}
_CALL, _OUTPUT = "_call", "_output"
_SINGLE = frozenset({"message", "reasoning"})
_LONGEST_ID = 40  # the limit of the Chat Completions API, the smallest of all
_NO_NAME_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64
LARGEST_HISTORY = 16 * 2**20
"""In characters. The largest windows of models take about 4 MB of text."""
_PREFIX: ContextVar[Sequence[Any]] = ContextVar("history_prefix", default=())


@dataclass(frozen=True)
class Maker:
    """The maker of items: a model, with the API and the account through which it is asked."""

    model: str
    api: Api
    account: str

    def note(self) -> dict[str, str]:
        """Return the members of `provider_data` that name the maker."""
        return {"model": self.model, "api": self.api, "account": self.account}

    def made(self, item: Item) -> bool:
        """Tell whether this model made an item."""
        data = item.get("provider_data")
        return (
            isinstance(data, dict)
            and data.get("model") == self.model
            and data.get("api") == self.api
            and data.get("account") == self.account
        )


class History:
    """The items of a conversation, in the forms in which a model may get them."""

    def __init__(self, items: Sequence[Item] = (), *, limit: int | None = None) -> None:
        self._all = items
        self._items = newest_fitting(newest_messages(items, limit))
        self.left_out = len(items) - len(self._items)

    def for_model(self, maker: Maker | None) -> list[dict[str, Any]]:
        """Return the items for a model; None: a model that made none of them."""
        return prepare(self._items, maker)

    def texts(self) -> list[dict[str, Any]]:
        """Return the prompts and replies alone, which every server accepts."""
        return [item for item in prepare(self._items, None) if "content" in item]

    def call_ids(self) -> set[str]:
        """Name the calls of the whole conversation, which goes beyond what a limit leaves of it."""
        return ids_of_calls(self._all)


def ids_of_calls(items: Iterable[Item]) -> set[str]:
    """Name the calls among items."""
    return {str(item["call_id"]) for item in items if item.get("call_id")}


def newest_messages(items: Sequence[Item], limit: int | None) -> Sequence[Item]:
    """Return the newest whole messages that have at most `limit` items, at least the newest one.

    A message begins with the user's prompt, so a call is never cut from its output or reasoning.
    """
    if limit is None or len(items) <= limit:
        return items
    borders = [place for place, item in enumerate(items) if _is_prompt(item)]
    if not borders:
        return items
    fitting = (place for place in borders if len(items) - place <= limit)
    return items[next(fitting, borders[-1]) :]


def newest_fitting(items: Sequence[Item]) -> Sequence[Item]:
    """Return the newest whole messages that fit into the largest history, at least the newest."""
    size = 0
    border = len(items)
    for place in range(len(items) - 1, -1, -1):
        size += len(repr(items[place]))  # about as long as its JSON, and never an error
        if size > LARGEST_HISTORY and border < len(items):
            return items[border:]
        if _is_prompt(items[place]):
            border = place
    return items


def prepare(items: Sequence[Item], maker: Maker | None) -> list[dict[str, Any]]:
    """Return items as a request to `maker` may carry them, in time linear in their number.

    A message that another model made, or None could have, goes without ids and reasoning. So does
    one that had to be repaired, since a server that keeps items finds the repaired ones changed.
    (Chat Completions keeps none, and thinking models want their reasoning back.)
    """
    prepared: list[dict[str, Any]] = []
    ids = _Ids()
    for message in _messages(items):
        made = maker is not None and all(map(maker.made, filter(_is_made, message)))
        valid, is_repaired = _repaired(message, ids, longest_id=None if made else _LONGEST_ID)
        if maker is not None and made and (not is_repaired or maker.api == "chat_completions"):
            prepared += [_own(item, maker) for item in valid]
        else:
            prepared += [plain for item in valid if (plain := _plain(item))]
    return prepared


@contextmanager
def sent_before(items: Sequence[Any]) -> Iterator[None]:
    """Put these items before the input of the Responses calls that are made meanwhile.

    The SDK walks three times through all that it is given: with 1,000 items that was three quarters
    of a run's CPU. So it gets the run's own items, and the client adds the history.
    """
    token = _PREFIX.set(items)
    try:
        yield
    finally:
        _PREFIX.reset(token)


def history_prefix() -> Sequence[Any]:
    """Return the items that go before the input of a call that is made now."""
    return _PREFIX.get()


def _messages(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split a conversation before each prompt."""
    start = 0
    for place, item in enumerate(items):
        if place > start and _is_prompt(item):
            yield items[start:place]
            start = place
    if items:
        yield items[start:]


def _is_prompt(item: Item) -> bool:
    return item.get("role") == "user"


def _is_made(item: Item) -> bool:
    role = item.get("role")
    return role == "assistant" or (role is None and not _kind(item).endswith(_OUTPUT))


def _kind(item: Item) -> str:
    return str(item.get("type") or "message")


@dataclass
class _Pairs:
    """Where in a message its calls and their outputs are, and where those that have no other."""

    calls: set[int] = field(default_factory=set)
    call_of: dict[int, int] = field(default_factory=dict)
    """The place of a call by that of its output."""
    unanswered: set[int] = field(default_factory=set)
    lost_outputs: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, message: Sequence[Item]) -> "_Pairs":
        """Pair each output with the oldest call before it that has its id and no output yet."""
        pairs, waiting = cls(), dict[tuple[str, str], deque[int]]()
        for place, item in enumerate(message):
            kind = item.get("type")
            if kind is None or kind in _SINGLE:
                continue
            name, call_id = str(kind), str(item.get("call_id"))
            if name.endswith(_OUTPUT):
                key = name.removesuffix(_OUTPUT).removesuffix(_CALL), call_id
                if found := waiting.get(key):
                    pairs.call_of[place] = found.popleft()
                else:
                    pairs.lost_outputs.add(place)
            elif name == "function_call" or (name.endswith(_CALL) and "call_id" in item):
                pairs.calls.add(place)
                waiting.setdefault((name.removesuffix(_CALL), call_id), deque()).append(place)
        pairs.unanswered = {place for places in waiting.values() for place in places}
        return pairs


class _Ids:
    """The ids that the items before had: those of calls, and the server's own of each item."""

    def __init__(self) -> None:
        self._calls: set[str] = set()
        self._items: set[str] = set()
        self._number = 0

    def of_call(self, call_id: object, *, longest: int | None) -> str:
        """Return the id of a call, another one if it is in use, empty or too long."""
        fresh = call_id if isinstance(call_id, str) else ""
        if longest is not None and len(fresh) > longest:
            fresh = f"call_{sha256(fresh.encode(errors='replace')).hexdigest()[:32]}"
        while not fresh or fresh in self._calls:
            fresh, self._number = f"call_{self._number}", self._number + 1
        self._calls.add(fresh)
        return fresh

    def repeats(self, item: Item) -> bool:
        """Tell whether an item before had the server-side id of this one."""
        item_id = item.get("id")
        if not isinstance(item_id, str) or item_id == FAKE_RESPONSES_ID:
            return False
        repeated = item_id in self._items
        self._items.add(item_id)
        return repeated


def _repaired(
    message: Sequence[Item], ids: _Ids, *, longest_id: int | None = None
) -> tuple[list[Item], bool]:
    """Return a message's items with pairs of calls and outputs whose ids are in use nowhere else.

    And whether a strict server would refuse the items as they are stored.
    """
    pairs = _Pairs.of(message)
    is_repaired = bool(pairs.unanswered or pairs.lost_outputs)
    named: dict[int, str] = {}
    valid: list[Item] = []
    reasons = False
    for place, item in enumerate(message):
        # reasoning that nothing follows is refused as well
        is_repaired |= ids.repeats(item) or (reasons and not _is_made(item))
        reasons = item.get("type") == "reasoning"
        if place in pairs.calls:
            if place not in pairs.unanswered:
                named[place] = ids.of_call(item.get("call_id"), longest=longest_id)
                fields = {"call_id": named[place], **_call_fields(item)}
                is_repaired |= any(item.get(name) != value for name, value in fields.items())
                valid.append({**item, **fields})
        elif place in pairs.call_of:
            valid.append({**item, "call_id": named[pairs.call_of[place]]})
        elif place not in pairs.lost_outputs:
            valid.append(item)
    return valid, is_repaired or reasons


def _call_fields(item: Item) -> dict[str, Any]:
    """Return the members of a function call that a strict server checks."""
    if item.get("type") != "function_call":
        return {}
    name = _NO_NAME_CHARACTER.sub("_", str(item.get("name") or ""))[:_LONGEST_NAME]
    return {"name": name or "unknown", "arguments": _json_object(item.get("arguments"))}


def _json_object(arguments: object) -> str:
    """Return a call's arguments as the text of a JSON object, whatever the model wrote."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    try:
        if isinstance(from_json(text, allow_inf_nan=False), dict):
            return text
    except ValueError:
        pass
    return json.dumps({"malformed_arguments": text}) if text.strip() else "{}"


def _own(item: Item, maker: Maker) -> dict[str, Any]:
    """Return an item to its maker; the SDK reads `provider_data` for Chat Completions alone."""
    hidden = _INTERNAL if maker.api == "chat_completions" else _NOT_FOR_RESPONSES
    if hidden.isdisjoint(item):
        return dict(item)
    return {name: value for name, value in item.items() if name not in hidden}


def _plain(item: Item) -> dict[str, Any] | None:
    """Return the part of an item that any model understands; None: no part."""
    kind, role = _kind(item), item.get("role")
    if kind == "message" and role == "assistant":
        text = text_of(item.get("content"))
        return {"role": role, "content": text} if text else None
    if kind == "message":
        hidden = {*_NOT_FOR_RESPONSES, "id", "status"}
        return {name: value for name, value in item.items() if name not in hidden}
    if kind == "function_call":
        return {"type": kind} | {name: item[name] for name in ("call_id", "name", "arguments")}
    if kind == "function_call_output":
        return {"type": kind, "call_id": item["call_id"], "output": item.get("output") or ""}
    return None


def text_of(content: object) -> str:
    """Return the text of a message's content, refusals included."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") or part.get("refusal") for part in parts if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))
