"""Which messages a worker must hear of: the heads of their sessions, and those that wait too long.

A head is a session's first unfinished message. Hints are marked when they are taken, in the
transaction that makes the head; one that is lost afterwards is taken again by the sweep.
"""

from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Uuid,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningUpdate

from shared.database import clock
from shared.store.states import is_queued, is_running, is_unfinished
from shared.tables import Message, MessageStatus, Worker


async def take_hints(db: AsyncSession, project_id: UUID, *, limit: int) -> tuple[UUID, ...]:
    """Mark and name the project's oldest unhinted heads, so many that `limit` are under way."""
    core = await db.connection()
    taken = await core.execute(_TAKE_HINTS, {"of_project": project_id, "most": limit})
    return tuple(taken.scalars())


def heads_wait(project_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Say in SQL that `take_hints` may find something; before the statement's own changes."""
    other = aliased(Message)
    waiting = exists().where(
        other.project_id == project_id, is_queued(other), other.hinted_at.is_(None)
    )
    return select(waiting).scalar_subquery()


def under_way(project_id: ColumnElement[UUID]) -> ColumnElement[int]:
    """Count in SQL what counts against the project's cap."""
    here = Message.project_id == project_id
    return select(func.count(Message.id)).where(here, _under_way()).scalar_subquery()


async def take_unhinted(db: AsyncSession, *, project_limit: int, limit: int) -> tuple[UUID, ...]:
    """Mark and name heads that no transition hinted: of all projects in turn, each up to its cap.

    They are what waited for the cap while nothing else happened in their project, and what two
    transitions at once overlooked.
    """
    busy = (
        select(Message.project_id, func.count().label("count"))
        .where(_under_way())
        .group_by(Message.project_id)
        .subquery()
    )
    turn = func.row_number().over(
        partition_by=Message.project_id, order_by=(Message.queued_at, Message.seq)
    ) + func.coalesce(busy.c.count, 0)
    ranked = (
        _queued_heads()
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


def _under_way() -> ColumnElement[bool]:
    """Say in SQL that a message runs, or that a worker was told of it."""
    return is_unfinished() & or_(is_running(), Message.hinted_at.is_not(None))


async def take_lost_hints(
    db: AsyncSession, *, waiting: int, hinted_before_s: float, run_limit_s: float, limit: int
) -> tuple[UUID, ...]:
    """Mark and name the oldest messages whose worker is gone, or whose hint seems lost.

    `waiting` hints are in the broker: they are not lost, however long ago they were sent.
    """
    stale = Message.hinted_at < clock() - hinted_before_s
    orphans = _orphans(run_limit_s).where(or_(Message.hinted_at.is_(None), stale))
    orphaned = await _mark(db, orphans.order_by(Message.queued_at).limit(limit))
    hinted = select(func.count(Message.id)).where(is_queued(), Message.hinted_at.is_not(None))
    missing = max((await db.scalar(hinted) or 0) - waiting, 0)
    heads = _queued_heads().where(stale).order_by(Message.queued_at, Message.seq)
    return orphaned + await _mark(db, heads.limit(min(limit - len(orphaned), missing)))


def _queued_heads() -> Select[UUID]:
    earlier = aliased(Message)
    blocked = exists().where(
        earlier.session_id == Message.session_id,
        earlier.seq < Message.seq,
        is_unfinished(earlier),
    )
    return select(Message.id).where(Message.status == MessageStatus.QUEUED, ~blocked)


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
    return tuple(await db.scalars(_marking(chosen)))


def _marking(chosen: Select[UUID]) -> ReturningUpdate[UUID]:
    # rows of other sessions: skipped when locked, or the lock order would be broken
    # a CTE: PostgreSQL may run a subquery several times, and would choose more rows each time
    free = chosen.with_for_update(of=Message, key_share=True, skip_locked=True).cte()
    return (
        update(Message)
        .where(Message.id.in_(select(free.c.id)))
        .values(hinted_at=clock())
        .returning(Message.id)
        .execution_options(synchronize_session=False)
    )


def _taking_hints() -> ReturningUpdate[UUID]:
    of_project = bindparam("of_project", type_=Uuid())
    here = Message.project_id == of_project
    most = bindparam("most", type_=Integer())
    count = under_way(of_project)
    free = case((count < most, most - count), else_=0)
    waiting = _queued_heads().where(here, Message.hinted_at.is_(None))
    return _marking(waiting.order_by(Message.queued_at, Message.seq).limit(free))


# built once: to build it takes four times as long as to run it
_TAKE_HINTS = _taking_hints()


async def forget_hints(db: AsyncSession) -> None:
    """Unmark every head: for a process that knows that the broker is empty."""
    await db.execute(update(Message).where(is_unfinished()).values(hinted_at=None))
