"""What the model remembers, sent to its server as it is stored.

The SDK copies and looks through all items of its input a dozen times a call, to change none of
what an earlier run has stored: with a thousand of them that was three quarters of a run's CPU.
So it gets what is new, and the OpenAI client puts what is remembered before that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from agents import Model
from agents.models.fake_id import FAKE_RESPONSES_ID
from agents.models.openai_responses import OpenAIResponsesModel

from shared.settings import Settings
from worker.memory.session import SessionMemory

_NOT_SENT = frozenset(
    {"provider_data", "created_by", "_agents_tool_description", "_agents_tool_title"}
)
_NAMED = ("function_call", "function_call_output", "reasoning")
_FIRST: ContextVar[Sequence[Any]] = ContextVar("first", default=())


async def remembered_by(memory: SessionMemory, model: Model, settings: Settings) -> Sequence[Any]:
    """Take from the memory what its model's server gets first; nothing if the SDK has to see it.

    It has to with a limit, which may cut a call from its output, and with another API.
    """
    if settings.history_limit or not isinstance(model, OpenAIResponsesModel):
        return ()
    return await memory.hand_out(if_=goes_as_stored)


def goes_as_stored(items: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the SDK would send these items just as they are.

    It changes what another API's model made, and drops what came twice by one id or lacks its
    other half.
    """
    ids: dict[str, list[str]] = {kind: [] for kind in _NAMED}
    for item in items:
        if item.get("id") == FAKE_RESPONSES_ID or not _NOT_SENT.isdisjoint(item):
            return False
        kind = item.get("type", "message")
        if kind in ids:
            ids[kind].append(str(item.get("call_id") or item.get("id")))
        elif kind != "message":
            return False
    once = all(len(found) == len(set(found)) for found in ids.values())
    return once and set(ids["function_call"]) == set(ids["function_call_output"])


@contextmanager
def sent_first(items: Sequence[Any]) -> Iterator[None]:
    """Put these items before the input of the calls that are made meanwhile."""
    token = _FIRST.set(items)
    try:
        yield
    finally:
        _FIRST.reset(token)


def first() -> Sequence[Any]:
    """Return the items that go before the input of a call that is made now."""
    return _FIRST.get()
