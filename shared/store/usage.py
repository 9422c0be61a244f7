"""What model calls cost in tokens: summed by day and model, for a message, a session, a project.

A call is stored with its attempt's end, or while its run lasts. Calls of deleted sessions live on
as sums in `usage_days`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
    and_,
    case,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.tables import Message, ModelCall, UsageDay

_FOREVER = (-(10**9), 10**9)
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_COUNTS = ("calls", "uncounted_calls", *_TOKENS)


@dataclass(frozen=True)
class Usage:
    """The calls of one model on one day, counted from 1970 in UTC.

    `uncounted_calls` are those of whose tokens the server said nothing: they failed, were cut off,
    or it does not count. `unreported_calls` are those of them that were answered, as far as their
    sessions are not deleted.
    """

    day: int
    model: str
    calls: int
    uncounted_calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    unreported_calls: int = 0


async def of_message(db: AsyncSession, message_id: UUID) -> list[Usage]:
    """Sum a message's calls, those of all its attempts."""
    return await _summed(db, _calls().where(ModelCall.message_id == message_id))


async def of_session(
    db: AsyncSession, session_id: UUID, *, but: tuple[UUID, int] | None = None
) -> list[Usage]:
    """Sum a session's calls, also those before it was cleared; `but`: without that attempt's."""
    return await _summed(db, _but(but, _in_sessions([session_id])))


async def of_project(
    db: AsyncSession,
    project_id: UUID,
    *,
    days: tuple[int, int] = _FOREVER,
    but: tuple[UUID, int] | None = None,
) -> list[Usage]:
    """Sum a project's calls from a day to a day, deleted sessions included."""
    calls = _but(but, _calls()).where(
        ModelCall.project_id == project_id, ModelCall.day.between(*days)
    )
    kept = select(
        UsageDay.day,
        UsageDay.model,
        *(getattr(UsageDay, name) for name in _COUNTS),
        literal(0).label("unreported_calls"),
    )
    here = kept.where(UsageDay.project_id == project_id, UsageDay.day.between(*days))
    return await _summed(db, calls, here)


async def keep(db: AsyncSession, session_ids: Sequence[UUID]) -> None:
    """Add the calls of sessions that are about to be deleted to their projects' sums."""
    calls = _in_sessions(session_ids).add_columns(Message.project_id).subquery()
    key = (calls.c.project_id, calls.c.day, calls.c.model)
    sums = select(*key, *_sums(calls, _COUNTS)).group_by(*key)
    core = await db.connection()
    for row in (await core.execute(sums)).mappings().all():
        known = and_(
            UsageDay.project_id == row["project_id"],
            UsageDay.day == row["day"],
            UsageDay.model == row["model"],
        )
        more = {name: getattr(UsageDay, name) + row[name] for name in _COUNTS}
        if (await core.execute(update(UsageDay).where(known).values(more))).rowcount == 0:
            await core.execute(insert(UsageDay), dict(row))


def _calls() -> Select[Any]:
    uncounted = case((ModelCall.input_tokens.is_(None), 1), else_=0)
    return select(
        ModelCall.day,
        ModelCall.model,
        literal(1).label("calls"),
        uncounted.label("uncounted_calls"),
        *(getattr(ModelCall, name) for name in _TOKENS),
        case((and_(ModelCall.input_tokens.is_(None), ModelCall.error.is_(None)), 1), else_=0).label(
            "unreported_calls"
        ),
    )


def _in_sessions(session_ids: Sequence[UUID]) -> Select[Any]:
    mine = _calls().join(Message, Message.id == ModelCall.message_id)
    return mine.where(Message.session_id.in_(session_ids))


def _but(attempt: tuple[UUID, int] | None, calls: Select[Any]) -> Select[Any]:
    if attempt is None:
        return calls
    message_id, number = attempt
    return calls.where(~and_(ModelCall.message_id == message_id, ModelCall.attempt == number))


def _sums(rows: Any, names: Sequence[str]) -> list[Any]:
    return [func.coalesce(func.sum(rows.c[name]), 0).label(name) for name in names]


async def _summed(db: AsyncSession, *parts: Select[Any]) -> list[Usage]:
    rows = union_all(*parts).subquery()
    by_day = (rows.c.day, rows.c.model)
    names = (*_COUNTS, "unreported_calls")
    query = select(*by_day, *_sums(rows, names)).group_by(*by_day).order_by(*by_day)
    core = await db.connection()
    return [
        Usage(row.day, row.model, *(int(getattr(row, name)) for name in names))
        for row in await core.execute(query)
    ]
