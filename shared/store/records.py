"""The record of what was tried: how attempts ended, and the model's calls in them."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock, insert_new
from shared.prepared import Prepared
from shared.store.attempts import Call
from shared.tables import Attempt, AttemptOutcome, ModelCall

_REFUSED = re.compile("[\\x00\\ud800-\\udfff]")


async def close_attempt(
    db: AsyncSession,
    message_id: UUID,
    number: int,
    outcome: AttemptOutcome,
    *,
    error: dict[str, Any] | None = None,
    spans: Sequence[dict[str, Any]] | None = None,
) -> None:
    """Write how an attempt ended; without spans those stay that were stored while it ran."""
    of_attempt = {"of_message": message_id, "of_number": number}
    known = {"outcome": outcome, "error": error} | ({} if spans is None else {"spans": spans})
    await _CLOSE.all(db, of_attempt | known)


async def record_calls(
    db: AsyncSession, message_id: UUID, attempt: int, calls: Sequence[Call]
) -> None:
    """Record what was tried, also for an attempt that came to nothing; tolerates a repetition."""
    made = [
        {
            "message_id": message_id,
            "attempt": attempt,
            "n": call.number,
            "model": storable(call.model)[:200],
            "usage": call.usage,
            "error": call.error,
            "started_at": call.started_at,
            "ended_at": call.ended_at,
        }
        for call in calls
    ]
    await _ADD_CALL.each(db, made)


# built once: to build a statement takes longer than to run it
_CLOSE = Prepared(
    update(Attempt)
    .where(Attempt.message_id == bindparam("of_message"), Attempt.number == bindparam("of_number"))
    .values(ended_at=clock())
)
_ADD_CALL = Prepared(partial(insert_new, ModelCall))


def total(calls: Sequence[Call]) -> dict[str, Any]:
    """Sum the numbers of the calls' usage, nested ones too."""
    summed: dict[str, Any] = {}
    for call in calls:
        _add(summed, call.usage or {})
    return summed


def _add(summed: dict[str, Any], usage: dict[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, dict):
            _add(summed.setdefault(name, {}), value)
        elif isinstance(value, int | float):
            summed[name] = summed.get(name, 0) + value


def storable(text: str) -> str:
    """Replace what PostgreSQL's text refuses: NUL and lone surrogates."""
    return _REFUSED.sub("\ufffd", text)
