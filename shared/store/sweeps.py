"""What one worker at a time looks after for all: lost hints, lost workers, what is purged."""

import zlib
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Double,
    Integer,
    Select,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.statements import Prepared
from shared.store import dispatch
from shared.store.states import is_queued, is_running, is_unfinished
from shared.tables import Message, Project, Worker


async def lead(db: AsyncSession, namespace: str) -> bool:
    """Try to be the only sweeper until the commit; on SQLite the write lock is that already."""
    if db.get_bind().dialect.name == "sqlite":
        return True
    tried = await _LEAD.first(db, {"key": zlib.crc32(f"sweep {namespace}".encode())})
    return bool(tried and tried.leads)


_LEAD = Prepared(
    select(func.pg_try_advisory_xact_lock(bindparam("key", type_=BigInteger())).label("leads"))
)


async def take_unhinted(db: AsyncSession, *, project_limit: int, limit: int) -> tuple[UUID, ...]:
    """Mark and name heads that no transition hinted: of all projects in turn, each up to its cap.

    They are what waited for the cap while nothing else happened in their project, and what two
    transitions at once overlooked.
    """
    return await _mark(db, _UNHINTED, {"cap": project_limit, "most": limit})


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
    stale = {"hinted_before_s": hinted_before_s}
    orphans = stale | {"run_limit_s": run_limit_s, "most": limit}
    orphaned = await _mark(db, _ORPHANED, orphans)
    hinted = await _HINTED.first(db, {"counted_s_ago": counted_s_ago})
    assert hinted is not None, "it counts"
    missing = max(hinted.count - waiting, 0)
    late = stale | {"most": min(limit - len(orphaned), missing)}
    return orphaned + await _mark(db, _LATE, late)


async def _mark(db: AsyncSession, chosen: Prepared, values: dict[str, Any]) -> tuple[UUID, ...]:
    return tuple(marked.id for marked in await chosen.all(db, values))


def _seconds(name: str) -> BindParameter[float]:
    return bindparam(name, type_=Double())


def _orphans() -> Select[UUID]:
    """Select running messages of workers that are gone, or that run for longer than they may."""
    return (
        select(Message.id)
        .outerjoin(Worker, Worker.id == Message.worker_id)
        .where(
            is_running(),
            or_(
                Worker.id.is_(None),
                Worker.lease_expires_at <= clock(),
                Message.claimed_at <= clock() - _seconds("run_limit_s"),
            ),
            or_(Message.hinted_at.is_(None), _STALE),
        )
        .order_by(Message.queued_at)
    )


def _unhinted() -> Select[UUID]:
    busy = (
        select(Message.project_id, func.count().label("count"))
        .where(dispatch.is_under_way())
        .group_by(Message.project_id)
        .subquery()
    )
    turn = func.row_number().over(
        partition_by=Message.project_id, order_by=(Message.queued_at, Message.seq)
    ) + func.coalesce(busy.c.count, 0)
    ranked = (
        dispatch.queued_heads()
        .add_columns(turn.label("turn"), Message.queued_at)
        .outerjoin(busy, busy.c.project_id == Message.project_id)
        .where(Message.hinted_at.is_(None))
        .subquery()
    )
    chosen = (
        select(ranked.c.id)
        .where(ranked.c.turn <= bindparam("cap", type_=Integer()))
        .order_by(ranked.c.turn, ranked.c.queued_at)
        .limit(_MOST)
    )
    still = is_queued() & Message.hinted_at.is_(None)
    return select(Message.id).where(Message.id.in_(chosen), still)


# built once: to build them takes longer than to run them, each second
_MOST = bindparam("most", type_=Integer())
_STALE = Message.hinted_at < clock() - _seconds("hinted_before_s")
_UNHINTED = Prepared(dispatch.marking(_unhinted()))
_ORPHANED = Prepared(dispatch.marking(_orphans().limit(_MOST)))
_LATE = Prepared(
    dispatch.marking(
        dispatch.queued_heads().where(_STALE).order_by(Message.queued_at, Message.seq).limit(_MOST)
    )
)
_HINTED = Prepared(
    select(func.count(Message.id).label("count")).where(
        is_queued(), Message.hinted_at <= clock() - _seconds("counted_s_ago")
    )
)


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
