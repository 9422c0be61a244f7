"""Which messages a worker must hear of: the heads of their sessions, and those that wait too long.

A head is a session's first unfinished message. Hints are marked when they are taken, in the
transaction that makes the head; one that is lost afterwards is taken again by the sweep.
"""

from uuid import UUID

from sqlalchemy import Select, case, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from shared.database import clock
from shared.tables import UNFINISHED, Message, MessageStatus, Worker


async def take_hints(db: AsyncSession, project_id: UUID, *, limit: int) -> tuple[UUID, ...]:
    """Mark and name the project's oldest unhinted heads, so many that `limit` are under way."""
    under_way = (
        select(func.count())
        .select_from(Message)
        .where(
            Message.project_id == project_id,
            Message.status.in_(UNFINISHED),
            or_(Message.status == MessageStatus.IN_PROGRESS, Message.hinted_at.is_not(None)),
        )
        .scalar_subquery()
    )
    free = case((under_way < limit, limit - under_way), else_=0)
    waiting = _queued_heads().where(Message.project_id == project_id, Message.hinted_at.is_(None))
    return await _mark(db, waiting.limit(free))


async def take_lost_hints(
    db: AsyncSession, *, hinted_before_s: float, run_limit_s: float, limit: int
) -> tuple[UUID, ...]:
    """Mark and name the oldest messages whose worker is gone, or whose hint seems lost."""
    stale = Message.hinted_at < clock() - hinted_before_s
    orphans = _orphans(run_limit_s).where(or_(Message.hinted_at.is_(None), stale))
    orphaned = await _mark(db, orphans.limit(limit))
    return orphaned + await _mark(db, _queued_heads().where(stale).limit(limit - len(orphaned)))


def _queued_heads() -> Select[UUID]:
    earlier = aliased(Message)
    blocked = exists().where(
        earlier.session_id == Message.session_id,
        earlier.seq < Message.seq,
        earlier.status.in_(UNFINISHED),
    )
    return (
        select(Message.id)
        .where(Message.status == MessageStatus.QUEUED, ~blocked)
        .order_by(Message.queued_at, Message.seq)
    )


def _orphans(run_limit_s: float) -> Select[UUID]:
    """Select running messages of workers that are gone, or that run for longer than they may."""
    return (
        select(Message.id)
        .outerjoin(Worker, Worker.id == Message.worker_id)
        .where(
            Message.status == MessageStatus.IN_PROGRESS,
            or_(
                Worker.id.is_(None),
                Worker.lease_expires_at <= clock(),
                Message.claimed_at <= clock() - run_limit_s,
            ),
        )
        .order_by(Message.queued_at)
    )


async def _mark(db: AsyncSession, chosen: Select[UUID]) -> tuple[UUID, ...]:
    # rows of other sessions: skipped when locked, or the lock order would be broken
    free = chosen.with_for_update(of=Message, key_share=True, skip_locked=True).subquery()
    marked = await db.scalars(
        update(Message)
        .where(Message.id.in_(select(free.c.id)))
        .values(hinted_at=clock())
        .returning(Message.id)
        .execution_options(synchronize_session=False)
    )
    return tuple(marked)


async def overdue(db: AsyncSession, *, queue_timeout_s: float, limit: int) -> list[Message]:
    """List messages that waited for a worker, or for news of theirs, longer than they may."""
    waited = (Message.status == MessageStatus.QUEUED) & (
        Message.queued_at < clock() - queue_timeout_s
    )
    orphaned = (Message.status == MessageStatus.IN_PROGRESS) & (
        func.coalesce(Worker.lease_expires_at, Message.claimed_at) < clock() - queue_timeout_s
    )
    found = await db.scalars(
        select(Message)
        .outerjoin(Worker, Worker.id == Message.worker_id)
        .where(or_(waited, orphaned))
        .order_by(Message.session_id, Message.seq)
        .limit(limit)
    )
    return list(found)


async def forget_hints(db: AsyncSession) -> None:
    """Unmark every head: for a process that knows that the broker is empty."""
    await db.execute(update(Message).where(Message.status.in_(UNFINISHED)).values(hinted_at=None))
