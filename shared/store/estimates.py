"""How fast the queue drains, measured: what Retry-After and the estimate of a start are from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from shared.dialects import clock
from shared.statements import CompiledStatement
from shared.store.dispatch import is_in_progress, is_next, is_queued, is_unfinished
from shared.tables import Message, MessageStatus

_WINDOW_S = 60


@dataclass(frozen=True)
class QueueEstimate:
    """What an unfinished message may expect.

    `position` counts the unfinished messages before it in its session: 0 means next or running.
    `starts_in_s` is an estimate; None: it runs already, or nothing ended lately to estimate by.
    """

    position: int
    starts_in_s: float | None


async def retry_after(db: AsyncSession, unfinished: int) -> int:
    """Estimate when a tenth of the queue is gone, by what ended in the last minute (1 to 60 s)."""
    rate = max(await db.scalar(select(_ended_lately())) or 0, 1) / _WINDOW_S
    return min(max(math.ceil(unfinished / 10 / rate), 1), 60)


@dataclass(frozen=True)
class Backlog:
    """The unfinished messages at a moment; `oldest_s` is the age of the oldest that waits."""

    queued: int
    in_progress: int
    ready: int
    oldest_s: float


async def backlog(db: AsyncSession) -> Backlog:
    """Count unfinished messages, those that wait, those that could begin now, and their age."""
    counted = await _BACKLOG.first(db, {})
    assert counted is not None, "it counts"
    return Backlog(**counted._asdict())


async def estimate(db: AsyncSession, message: Message) -> QueueEstimate:
    """Say what comes before an unfinished message, and when its turn may be."""
    if message.status != MessageStatus.QUEUED:
        return estimate_of(None)  # it need not be asked
    return estimate_of(await _ESTIMATE.first(db, {"of_message": message.id}))


def estimate_of(row: Any | None) -> QueueEstimate:
    """Say the same by a message's `estimate_columns`; without them it is its session's first."""
    if row is None or row.position is None:
        return QueueEstimate(0, None)
    if not row.ended:
        return QueueEstimate(row.position, None)
    return QueueEstimate(
        row.position, round(max(row.position, row.before) * _WINDOW_S / row.ended, 1)
    )


def estimate_columns(*conditions: ColumnElement[bool]) -> Sequence[ColumnElement[int | None]]:
    """Make the columns that an estimate is from, in a statement about messages.

    They are NULL for messages that are not queued, and where a condition is not true.
    """
    other = aliased(Message)
    same_session = (other.session_id == Message.session_id) & (other.seq < Message.seq)
    waiting = select(func.count(other.id)).where(is_unfinished(other))
    counted = {
        "position": waiting.where(same_session).scalar_subquery(),
        "before": waiting.where(other.queued_at < Message.queued_at).scalar_subquery(),
        "ended": _ended_lately(),
    }
    asked = and_(is_queued(), *conditions)
    return [case((asked, count)).label(name) for name, count in counted.items()]


def _ended_lately() -> Any:
    # a subquery: PostgreSQL uses no index for what it must compute anew for each row
    since = select(clock() - _WINDOW_S).scalar_subquery()
    ended = select(func.count(Message.id)).where(Message.ended_at > since)
    return ended.correlate(None).scalar_subquery()


def _backlog() -> Any:
    ready = is_queued() & is_next()
    return select(
        func.count(Message.id).filter(is_queued()).label("queued"),
        func.count(Message.id).filter(is_in_progress()).label("in_progress"),
        func.count(Message.id).filter(ready).label("ready"),
        func.coalesce(clock() - func.min(Message.queued_at).filter(ready), 0.0).label("oldest_s"),
    ).where(is_unfinished())


_BACKLOG = CompiledStatement(_backlog())
_ESTIMATE = CompiledStatement(
    select(*estimate_columns()).where(Message.id == bindparam("of_message"))
)
