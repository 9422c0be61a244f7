"""The record of what was tried: how attempts ended, and the model's calls in them."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import any_of, clock, insert_new
from shared.statements import CompiledStatement, insert_rows
from shared.store.types import Call, Claim
from shared.tables import Attempt, AttemptOutcome, ModelCall

Spans = Sequence[dict[str, Any]] | None
DAY_S = 86_400
MOST_TOKENS = 10**12
"""More than any server can mean by one call; thousands of such calls still make a sum."""
_REFUSED = re.compile("[\\x00\\ud800-\\udfff]")


async def end_attempts(
    db: AsyncSession,
    message_ids: Sequence[UUID],
    outcome: AttemptOutcome,
    *,
    error: dict[str, Any] | None = None,
    spans: Spans = None,
) -> tuple[UUID, ...]:
    """Write how the open attempts at messages ended; name the messages that had one.

    Without spans those stay that were stored while it ran.
    """
    known = {"outcome": outcome, "error": error} | ({} if spans is None else {"spans": spans})
    ended = await _END_ATTEMPTS.all(db, known | {"ids": message_ids})
    return tuple(attempt.message_id for attempt in ended)


async def record_calls(db: AsyncSession, *made: tuple[Claim, Sequence[Call]]) -> None:
    """Record what attempts tried, also what came to nothing; tolerates a repetition."""
    rows = [_row(claim, call) for claim, calls in made for call in calls]
    await _ADD_CALLS.all(db, rows)


def _row(claim: Claim, call: Call) -> dict[str, Any]:
    return {
        "message_id": claim.message_id,
        "attempt": claim.attempt,
        "n": call.number,
        "model": storable(call.model)[:200],
        "usage": call.usage,
        "error": call.error,
        "started_at": call.started_at,
        "ended_at": call.ended_at,
        "project_id": claim.project_id,
        **counted(call.usage, call.ended_at),
    }


def counted(usage: dict[str, Any] | None, ended_at: float) -> dict[str, int | None]:
    """Give the columns that sums are made of: the day since 1970 in UTC, and the tokens."""
    said = usage or {}
    read, written = (said.get(f"{name}_tokens_details") or {} for name in ("input", "output"))
    return {
        "day": int(ended_at // DAY_S),
        "input_tokens": tokens(said.get("input_tokens")),
        "cached_tokens": tokens(read.get("cached_tokens")),
        "output_tokens": tokens(said.get("output_tokens")),
        "reasoning_tokens": tokens(written.get("reasoning_tokens")),
    }


def tokens(value: object) -> int | None:
    """Return a count of tokens; None: a model's server said something else, or too much."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


_END_ATTEMPTS = CompiledStatement(
    update(Attempt)
    .where(any_of(Attempt.message_id, "ids"), Attempt.outcome.is_(None))
    .values(ended_at=clock())
    .returning(Attempt.message_id)
)
_ADD_CALLS = insert_rows(ModelCall, insert_new)


def total(calls: Sequence[Call]) -> dict[str, Any] | None:
    """Sum the numbers of the calls' usage, nested ones too; None: not one of them is known."""
    known = [call.usage for call in calls if call.usage is not None]
    if not calls:
        return {}
    if not known:
        return None
    summed: dict[str, Any] = {}
    for usage in known:
        _add(summed, usage)
    return summed | {"uncounted_calls": len(calls) - len(known)}


def _add(summed: dict[str, Any], usage: dict[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, dict):
            _add(summed.setdefault(name, {}), value)
        elif isinstance(value, int | float):
            summed[name] = summed.get(name, 0) + value


def storable(text: str) -> str:
    """Replace what PostgreSQL's text refuses: NUL and lone surrogates."""
    return _REFUSED.sub("\ufffd", text)
