"""The choice of messages to enqueue: the next of each session, up to a project's cap.

A session's next message is its first unfinished one. A message is marked as enqueued by the
transaction that makes it the next; a task message that is lost afterwards is sent again by the
sweep, which one worker at a time does for all.
"""

import zlib
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    Select,
    Uuid,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningUpdate

from shared.dialects import clock, try_lead
from shared.statements import CompiledStatement
from shared.tables import UNFINISHED, Message, MessageStatus, Project, Worker


# States as constants: the partial indexes are for these very words. With parameters in their place
# PostgreSQL may keep a plan that fits any word, and reads the table.
def is_queued(message: type[Message] = Message) -> ColumnElement[bool]:
    """Say in SQL that a message waits."""
    return message.status == _constant(MessageStatus.QUEUED)


def is_in_progress(message: type[Message] = Message) -> ColumnElement[bool]:
    """Say in SQL that an attempt at a message is under way."""
    return message.status == _constant(MessageStatus.IN_PROGRESS)


def is_unfinished(message: type[Message] = Message) -> ColumnElement[bool]:
    """Say in SQL that a message has not ended."""
    return message.status.in_([_constant(status) for status in UNFINISHED])


def _constant(status: MessageStatus) -> ColumnElement[str]:
    return literal_column(f"'{status}'")


def is_next() -> ColumnElement[bool]:
    """Say in SQL that a message's session has no unfinished one before it."""
    earlier = aliased(Message)
    blocked = exists().where(
        earlier.session_id == Message.session_id,
        earlier.seq < Message.seq,
        is_unfinished(earlier),
    )
    return ~blocked


def is_lost(run_limit_s: ColumnElement[float]) -> ColumnElement[bool]:
    """Say in SQL that a message runs at a worker whose lease is over, or for too long."""
    holds = exists().where(Worker.id == Message.worker_id, Worker.lease_expires_at > clock())
    return is_in_progress() & or_(~holds, Message.claimed_at <= clock() - run_limit_s)


def in_flight() -> ColumnElement[bool]:
    """Say in SQL that a message runs or is enqueued: that counts against the project's cap."""
    return is_unfinished() & or_(is_in_progress(), Message.enqueued_at.is_not(None))


def count_in_flight(project_id: ColumnElement[UUID]) -> ColumnElement[int]:
    """Count in SQL the messages that count against the project's cap."""
    here = Message.project_id == project_id
    return select(func.count(Message.id)).where(here, in_flight()).scalar_subquery()


def next_waits(project_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Say in SQL that `mark_enqueued` may find something; before the statement's own changes."""
    other = aliased(Message)
    waiting = exists().where(
        other.project_id == project_id, is_queued(other), other.enqueued_at.is_(None)
    )
    return select(waiting).scalar_subquery()


async def mark_enqueued(db: AsyncSession, project_id: UUID, *, limit: int) -> tuple[UUID, ...]:
    """Mark and name the project's oldest next messages, so many that `limit` are in flight."""
    marked = await _MARK.all(db, {"of_project": project_id, "most": limit})
    return tuple(message.id for message in marked)


async def lead(db: AsyncSession, namespace: str) -> bool:
    """Try to be the only process that works for all of them, until the commit."""
    tried = await _LEAD.first(db, {"key": zlib.crc32(f"sweep {namespace}".encode())})
    return bool(tried and tried.leads)


async def mark_waiting(db: AsyncSession, *, project_limit: int, limit: int) -> tuple[UUID, ...]:
    """Mark and name next messages that no transition enqueued: of all projects in turn.

    Such messages waited for the cap while no other transition happened in their project, or two
    concurrent transitions overlooked them.
    """
    return await _marked(db, _MARK_WAITING, {"cap": project_limit, "most": limit})


async def mark_lost(
    db: AsyncSession,
    *,
    waiting: int,
    enqueued_before_s: float,
    run_limit_s: float,
    limit: int,
    counted_s_ago: float = 0,
) -> tuple[UUID, ...]:
    """Mark and name the oldest messages whose worker is gone, or whose task message seems lost.

    `waiting` task messages were in the broker `counted_s_ago`: they are not lost, however old they
    are. Messages that were enqueued since then are in neither number.
    """
    stale = {"enqueued_before_s": enqueued_before_s}
    orphaned = await _marked(
        db, _MARK_ORPHANED, stale | {"run_limit_s": run_limit_s, "most": limit}
    )
    enqueued = await _ENQUEUED.first(db, {"counted_s_ago": counted_s_ago})
    assert enqueued is not None, "it counts"
    missing = max(enqueued.count - waiting, 0)
    late = stale | {"most": min(limit - len(orphaned), missing)}
    return orphaned + await _marked(db, _MARK_LATE, late)


async def _marked(
    db: AsyncSession, chosen: CompiledStatement, values: dict[str, Any]
) -> tuple[UUID, ...]:
    return tuple(marked.id for marked in await chosen.all(db, values))


async def forget_enqueued(db: AsyncSession) -> None:
    """Unmark every message: for a process that knows that the broker is empty."""
    await db.execute(update(Message).where(is_unfinished()).values(enqueued_at=None))


async def purge_projects(db: AsyncSession, *, deleted_before_s: float) -> int:
    """Delete the rows of projects that were deleted so long ago, with all that is below them."""
    purged = await db.scalars(
        delete(Project)
        .where(Project.deleted_at < clock() - deleted_before_s)
        .returning(Project.id)
        .execution_options(synchronize_session=False)
    )
    return len(purged.all())


def _marking(chosen: Select[UUID]) -> ReturningUpdate[UUID]:
    # rows of other sessions: skipped when locked, or the lock order would be broken
    # a CTE: PostgreSQL may run a subquery several times, and would choose more rows each time
    free = chosen.with_for_update(of=Message, key_share=True, skip_locked=True).cte()
    return (
        update(Message)
        .where(Message.id.in_(select(free.c.id)))
        .values(enqueued_at=clock())
        .returning(Message.id)
        .execution_options(synchronize_session=False)
    )


def _of_project() -> Select[UUID]:
    of_project = bindparam("of_project", type_=Uuid())
    count = count_in_flight(of_project)
    free = case((count < _MOST, _MOST - count), else_=0)
    waiting = select(Message.id).where(
        Message.project_id == of_project, is_queued(), is_next(), Message.enqueued_at.is_(None)
    )
    return waiting.order_by(Message.queued_at, Message.seq).limit(free)


def _waiting() -> Select[UUID]:
    busy = (
        select(Message.project_id, func.count().label("count"))
        .where(in_flight())
        .group_by(Message.project_id)
        .subquery()
    )
    turn = func.row_number().over(
        partition_by=Message.project_id, order_by=(Message.queued_at, Message.seq)
    ) + func.coalesce(busy.c.count, 0)
    ranked = (
        select(Message.id, turn.label("turn"), Message.queued_at)
        .where(is_queued(), is_next())
        .outerjoin(busy, busy.c.project_id == Message.project_id)
        .where(Message.enqueued_at.is_(None))
        .subquery()
    )
    chosen = (
        select(ranked.c.id)
        .where(ranked.c.turn <= bindparam("cap", type_=Integer()))
        .order_by(ranked.c.turn, ranked.c.queued_at)
        .limit(_MOST)
    )
    still = is_queued() & Message.enqueued_at.is_(None)
    return select(Message.id).where(Message.id.in_(chosen), still)


def _orphaned() -> Select[UUID]:
    return (
        select(Message.id)
        .where(
            is_lost(_seconds("run_limit_s")),
            or_(Message.enqueued_at.is_(None), _STALE),
        )
        .order_by(Message.queued_at)
        .limit(_MOST)
    )


def _late() -> Select[UUID]:
    waiting = select(Message.id).where(is_queued(), is_next(), _STALE)
    return waiting.order_by(Message.queued_at, Message.seq).limit(_MOST)


def _seconds(name: str) -> BindParameter[float]:
    return bindparam(name, type_=Double())


_MOST = bindparam("most", type_=Integer())
_STALE = Message.enqueued_at < clock() - _seconds("enqueued_before_s")
_MARK = CompiledStatement(_marking(_of_project()))
_MARK_WAITING = CompiledStatement(_marking(_waiting()))
_MARK_ORPHANED = CompiledStatement(_marking(_orphaned()))
_MARK_LATE = CompiledStatement(_marking(_late()))
_ENQUEUED = CompiledStatement(
    select(func.count(Message.id).label("count")).where(
        is_queued(), Message.enqueued_at <= clock() - _seconds("counted_s_ago")
    )
)
_LEAD = CompiledStatement(select(try_lead(bindparam("key", type_=BigInteger())).label("leads")))
