"""How fast the queue drains, measured: what Retry-After and the estimate of a start are from."""

import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.prepared import Prepared
from shared.store import heads
from shared.store.states import is_queued, is_running, is_unfinished
from shared.tables import Message, MessageStatus

_WINDOW_S = 60


@dataclass(frozen=True)
class Outlook:
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
    """What is unfinished at a moment; `oldest_s` is the age of what waits longest to be begun."""

    queued: int
    in_progress: int
    heads: int
    oldest_s: float


async def backlog(db: AsyncSession) -> Backlog:
    """Count what is unfinished: how much waits, how much of it could be begun now, and how long."""
    core = await db.connection()
    return Backlog(*(await core.execute(_BACKLOG)).one())


async def outlook(db: AsyncSession, message: Message) -> Outlook:
    """Say what comes before an unfinished message, and when its turn may be."""
    return await outlook_of(
        db, message.status, message.session_id, message.seq, queued_at=message.queued_at
    )


async def outlook_of(
    db: AsyncSession, status: str, session_id: UUID, seq: int, *, queued_at: float
) -> Outlook:
    """Say the same of a message by what is known of it."""
    if status != MessageStatus.QUEUED:
        return Outlook(0, None)  # what runs is its session's first
    place = {"of_session": session_id, "before": seq, "since": queued_at}
    found = await _OUTLOOK.first(db, place)
    assert found is not None, "counts are always there"
    position, before, ended = found
    if not ended:
        return Outlook(position, None)
    return Outlook(position, round(max(position, before) * _WINDOW_S / ended, 1))


def _waiting(where: Any) -> Any:
    return select(func.count(Message.id)).where(is_unfinished(), where).scalar_subquery()


def _ended_lately() -> Any:
    # a subquery: PostgreSQL uses no index for what it must compute anew for each row
    since = select(clock() - _WINDOW_S).scalar_subquery()
    return select(func.count(Message.id)).where(Message.ended_at > since).scalar_subquery()


def _backlog() -> Any:
    head = heads.is_queued_head()
    return select(
        func.count(Message.id).filter(is_queued()),
        func.count(Message.id).filter(is_running()),
        func.count(Message.id).filter(head),
        func.coalesce(clock() - func.min(Message.queued_at).filter(head), 0.0),
    ).where(is_unfinished())


# built once: to build a statement takes longer than to run it
_BACKLOG = _backlog()
_BEFORE = (Message.session_id == bindparam("of_session")) & (Message.seq < bindparam("before"))
_OUTLOOK = Prepared(
    select(
        _waiting(_BEFORE).label("position"),
        _waiting(Message.queued_at < bindparam("since")).label("before"),
        _ended_lately().label("ended"),
    )
)
