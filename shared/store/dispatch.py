"""Which messages a worker must hear of: the heads of their sessions, each project's up to a cap.

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
from shared.statements import Prepared
from shared.store.states import is_queued, is_running, is_unfinished
from shared.tables import Message


async def take_hints(db: AsyncSession, project_id: UUID, *, limit: int) -> tuple[UUID, ...]:
    """Mark and name the project's oldest unhinted heads, so many that `limit` are under way."""
    taken = await _TAKE_HINTS.all(db, {"of_project": project_id, "most": limit})
    return tuple(head.id for head in taken)


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
    return select(func.count(Message.id)).where(here, is_under_way()).scalar_subquery()


def is_under_way() -> ColumnElement[bool]:
    """Say in SQL that a message runs, or that a worker was told of it."""
    return is_unfinished() & or_(is_running(), Message.hinted_at.is_not(None))


def queued_heads() -> Select[UUID]:
    """Select queued messages before which their session has no unfinished one."""
    return select(Message.id).where(is_queued_head())


def is_queued_head() -> ColumnElement[bool]:
    """Say in SQL that a message is queued and its session has no unfinished one before it."""
    earlier = aliased(Message)
    blocked = exists().where(
        earlier.session_id == Message.session_id,
        earlier.seq < Message.seq,
        is_unfinished(earlier),
    )
    return is_queued() & ~blocked


def marking(chosen: Select[UUID]) -> ReturningUpdate[UUID]:
    """Mark the chosen messages as hinted, and name them."""
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
    waiting = queued_heads().where(here, Message.hinted_at.is_(None))
    return marking(waiting.order_by(Message.queued_at, Message.seq).limit(free))


# built once: to build it takes four times as long as to run it
_TAKE_HINTS = Prepared(_taking_hints())
