"""What one worker at a time looks after for all: lost hints, lost workers, what is purged."""

import zlib
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.store import heads
from shared.store.states import is_queued, is_running, is_unfinished
from shared.tables import Message, Project, Worker


async def lead(db: AsyncSession, namespace: str) -> bool:
    """Try to be the only sweeper until the commit; on SQLite the write lock is that already."""
    if db.get_bind().dialect.name == "sqlite":
        return True
    key = zlib.crc32(f"sweep {namespace}".encode())
    return bool(await db.scalar(select(func.pg_try_advisory_xact_lock(key))))


async def take_unhinted(db: AsyncSession, *, project_limit: int, limit: int) -> tuple[UUID, ...]:
    """Mark and name heads that no transition hinted: of all projects in turn, each up to its cap.

    They are what waited for the cap while nothing else happened in their project, and what two
    transitions at once overlooked.
    """
    busy = (
        select(Message.project_id, func.count().label("count"))
        .where(heads.is_under_way())
        .group_by(Message.project_id)
        .subquery()
    )
    turn = func.row_number().over(
        partition_by=Message.project_id, order_by=(Message.queued_at, Message.seq)
    ) + func.coalesce(busy.c.count, 0)
    ranked = (
        heads.queued_heads()
        .add_columns(turn.label("turn"), Message.queued_at)
        .outerjoin(busy, busy.c.project_id == Message.project_id)
        .where(Message.hinted_at.is_(None))
        .subquery()
    )
    chosen = (
        select(ranked.c.id)
        .where(ranked.c.turn <= project_limit)
        .order_by(ranked.c.turn, ranked.c.queued_at)
        .limit(limit)
    )
    still = is_queued() & Message.hinted_at.is_(None)
    return await _mark(db, select(Message.id).where(Message.id.in_(chosen), still))


async def take_lost_hints(
    db: AsyncSession,
    *,
    waiting: int,
    hinted_before_s: float,
    run_limit_s: float,
    limit: int,
    counted_s_ago: float = 0,
) -> tuple[UUID, ...]:
    """Mark and name the oldest messages whose worker is gone, or whose hint seems lost.

    `waiting` hints were in the broker when they were counted: they are not lost, however long ago
    they were sent. What was hinted since is not among them, and not missing either.
    """
    stale = Message.hinted_at < clock() - hinted_before_s
    orphans = _orphans(run_limit_s).where(or_(Message.hinted_at.is_(None), stale))
    orphaned = await _mark(db, orphans.order_by(Message.queued_at).limit(limit))
    hinted = select(func.count(Message.id)).where(
        is_queued(), Message.hinted_at <= clock() - counted_s_ago
    )
    missing = max((await db.scalar(hinted) or 0) - waiting, 0)
    late = heads.queued_heads().where(stale).order_by(Message.queued_at, Message.seq)
    return orphaned + await _mark(db, late.limit(min(limit - len(orphaned), missing)))


def _orphans(run_limit_s: float) -> Select[UUID]:
    """Select running messages of workers that are gone, or that run for longer than they may."""
    return (
        select(Message.id)
        .outerjoin(Worker, Worker.id == Message.worker_id)
        .where(
            is_running(),
            or_(
                Worker.id.is_(None),
                Worker.lease_expires_at <= clock(),
                Message.claimed_at <= clock() - run_limit_s,
            ),
        )
    )


async def _mark(db: AsyncSession, chosen: Select[UUID]) -> tuple[UUID, ...]:
    return tuple(await db.scalars(heads.marking(chosen)))


async def forget_hints(db: AsyncSession) -> None:
    """Unmark every head: for a process that knows that the broker is empty."""
    await db.execute(update(Message).where(is_unfinished()).values(hinted_at=None))


async def purge_projects(db: AsyncSession, *, deleted_before_s: float) -> int:
    """Delete the rows of projects that were deleted so long ago, with all that is below them."""
    purged = await db.scalars(
        delete(Project)
        .where(Project.deleted_at < clock() - deleted_before_s)
        .returning(Project.id)
        .execution_options(synchronize_session=False)
    )
    return len(purged.all())
