"""How the service does: what waits and runs, and what ended within the last hour.

Read from the indexes of unfinished messages and of `ended_at`: what ended before costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.store.dispatch import is_unfinished
from shared.tables import Message, MessageStatus, Project, Worker

WINDOW_S = 3600
_MINUTE_S = 60
_FAILURES = 20
# upper ends of the classes that latencies are counted in, in seconds: each a third wider
LATENCIES_S = tuple(round(0.01 * 4 ** (n / 5), 4) for n in range(39))


@dataclass(frozen=True)
class Queue:
    """Numbers of unfinished messages; `oldest_s` is the age of the oldest that is queued."""

    queued: int
    running: int
    oldest_s: float | None


@dataclass(frozen=True)
class Ended:
    """How many messages ended alike: in the same minute, the same way, after as long.

    `minute` counts back from now: 0 is the last sixty seconds. `latency` is the index of their
    class in LATENCIES_S, or its length if they took longer.
    """

    minute: int
    status: str
    latency: int
    messages: int


async def queue(db: AsyncSession, *, owner: str | None) -> Queue:
    """Count what waits and what runs; of one owner, or of all."""
    statement = _of(
        select(
            func.coalesce(func.sum(case((_is(MessageStatus.QUEUED), 1), else_=0)), 0),
            func.coalesce(func.sum(case((_is(MessageStatus.IN_PROGRESS), 1), else_=0)), 0),
            clock() - func.min(case((_is(MessageStatus.QUEUED), Message.queued_at))),
        ).where(is_unfinished()),
        owner,
    )
    queued, running, oldest = (await db.execute(statement)).one()
    return Queue(queued, running, None if oldest is None else max(oldest, 0.0))


async def ended(db: AsyncSession, *, owner: str | None) -> Sequence[Ended]:
    """Count what ended within the window, by minute, outcome and latency."""
    # rounded: not every SQLite has a floor
    minutes = func.round((_now() - Message.ended_at) / _MINUTE_S - 0.5)
    minute = cast(minutes, Integer).label("minute")
    took = Message.ended_at - Message.created_at
    classes = [(took <= limit, n) for n, limit in enumerate(LATENCIES_S)]
    latency = case(*classes, else_=len(LATENCIES_S)).label("latency")
    statement = (
        _of(select(minute, Message.status, latency, func.count()), owner)
        .where(_lately())
        .group_by(minute, Message.status, latency)
    )
    return [Ended(max(row[0], 0), row[1], row[2], row[3]) for row in await db.execute(statement)]


async def failures(db: AsyncSession, *, owner: str | None) -> dict[str, int]:
    """Count what failed within the window by code, the most frequent first."""
    code = Message.error["code"].as_string().label("code")
    statement = (
        _of(select(code, func.count().label("messages")), owner)
        .where(_lately(), _is(MessageStatus.FAILED))
        .group_by(code)
        .order_by(func.count().desc(), code)
    )
    return {row[0]: row[1] for row in await db.execute(statement)}


async def last_failures(db: AsyncSession, *, owner: str | None) -> Sequence[Message]:
    """List what failed last within the window, the latest first."""
    statement = (
        _of(select(Message), owner)
        .where(_lately(), _is(MessageStatus.FAILED))
        .order_by(Message.ended_at.desc())
        .limit(_FAILURES)
    )
    return (await db.scalars(statement)).all()


async def workers(db: AsyncSession) -> Sequence[Worker]:
    """List the workers with a lease, the longest running first."""
    statement = select(Worker).where(Worker.lease_expires_at > clock()).order_by(Worker.started_at)
    return (await db.scalars(statement)).all()


def _of(statement: Select[Any], owner: str | None) -> Select[Any]:
    """Leave out deleted projects, and those of other owners."""
    joined = statement.join_from(Message, Project, Project.id == Message.project_id).where(
        Project.deleted_at.is_(None)
    )
    return joined if owner is None else joined.where(Project.owner == owner)


def _is(status: MessageStatus) -> ColumnElement[bool]:
    return Message.status == status


def _now() -> ColumnElement[float]:
    # a subquery: PostgreSQL uses no index for what it must compute anew for each row
    return select(clock()).scalar_subquery()


def _lately() -> ColumnElement[bool]:
    return Message.ended_at > _now() - WINDOW_S
