"""Ending messages that no attempt finishes: cancelled by people, or waiting for too long."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Select,
    bindparam,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import Failure, FailureCode
from shared.store import dispatch, outbox, projects, sessions
from shared.store.claims import lost, record_loss
from shared.store.ends import end
from shared.store.states import is_queued, is_running, is_unfinished
from shared.store.transitions import Ended
from shared.tables import (
    UNFINISHED,
    Attempt,
    AttemptOutcome,
    Message,
    MessageStatus,
    Project,
    Worker,
)

CANCELLED = Failure(
    FailureCode.CANCELLED, "The message was cancelled before it was answered.", retryable=False
)

EXPIRED = Failure(
    FailureCode.EXPIRED,
    "No worker had time for the message within the limit. Send it again later with a new key.",
    retryable=True,
)


async def cancel(db: AsyncSession, message: Message, *, limit: int) -> Ended:
    """End a message that has not ended, queued or running; tolerates that it just did."""
    await sessions.lock(db, message.session_id)
    await db.refresh(message)
    if message.status not in UNFINISHED:
        return Ended()
    stopped = (message.id,) if message.status == MessageStatus.IN_PROGRESS else ()
    ended = await end(db, message, MessageStatus.CANCELLED, CANCELLED)
    ready = await dispatch.take_hints(db, message.project_id, limit=limit)
    return ended | Ended(heads=ready, stopped=stopped)


async def cancel_session(db: AsyncSession, session_id: UUID, *, project_id: UUID) -> Ended:
    """End every unfinished message of a locked session; name them, in their order."""
    return await _cancel_all(db, Message.session_id == session_id, project_id)


async def _cancel_all(db: AsyncSession, where: ColumnElement[bool], project_id: UUID) -> Ended:
    """End all at once what is unfinished there; the caller holds the sessions' locks."""
    running = select(Message.id).where(
        where,
        is_running(),
        Message.id == Attempt.message_id,
        Message.attempt == Attempt.number,
    )
    unsynchronized = {"synchronize_session": False}
    stopped = await db.scalars(
        update(Attempt)
        .where(running.exists())
        .values(ended_at=clock(), outcome=AttemptOutcome.CANCELLED)
        .returning(Attempt.message_id)
        .execution_options(**unsynchronized)
    )
    found = await db.execute(
        update(Message)
        .where(where, is_unfinished())
        .values(
            status=MessageStatus.CANCELLED,
            error=CANCELLED.to_json(),
            ended_at=clock(),
            event_count=Message.event_count + 1,
        )
        .returning(Message.seq, Message.id, outbox.is_wanted(literal(project_id)))
        .execution_options(**unsynchronized)
    )
    ended = sorted(found.all())
    ids = tuple(row.id for row in ended)
    told = any(row[-1] for row in ended)
    if told:
        await outbox.write(db, ids)
    return Ended(ids, stopped=tuple(stopped), codes=(CANCELLED.code,) * len(ids), outbox=told)


async def clear_session(db: AsyncSession, session_id: UUID, *, limit: int) -> Ended:
    """End what is unfinished and begin a new generation of the conversation."""
    session = await sessions.lock(db, session_id)
    if session is None:
        return Ended()
    ended = await cancel_session(db, session.id, project_id=session.project_id)
    await sessions.start_generation(db, session)
    return ended | Ended(heads=await dispatch.take_hints(db, session.project_id, limit=limit))


async def delete_project(db: AsyncSession, project: Project) -> Ended:
    """Hide a locked project with all that is below it, and end what is unfinished there."""
    await projects.mark_deleted(db, project)
    await sessions.lock_all(db, project.id)
    await sessions.touch_all(db, project.id)
    return await _cancel_all(db, Message.project_id == project.id, project.id)


async def expire(
    db: AsyncSession, message: Message, *, queue_timeout_s: float, limit: int
) -> Ended:
    """Fail an overdue message; tolerates that it was claimed or released in the meantime."""
    await sessions.lock(db, message.session_id)
    overdue = overdue_messages(queue_timeout_s).where(Message.id == message.id)
    found = await db.scalar(overdue)
    if found is None:
        return Ended()
    failure = EXPIRED
    if found.status == MessageStatus.IN_PROGRESS:
        await record_loss(db, found)
        failure = lost(found.lost_count)
    ended = await end(db, found, MessageStatus.FAILED, failure)
    return ended | Ended(heads=await dispatch.take_hints(db, found.project_id, limit=limit))


async def overdue(db: AsyncSession, *, queue_timeout_s: float, limit: int) -> Sequence[Message]:
    """List messages that waited for a worker, or for news of theirs, longer than they may."""
    bounds = {"queue_timeout_s": queue_timeout_s, "most": limit}
    return (await db.scalars(_OVERDUE, bounds)).all()


def overdue_messages(queue_timeout_s: float | ColumnElement[float]) -> Select[Message]:
    """Select the messages that `overdue` lists."""
    waited = is_queued() & (Message.queued_at < clock() - queue_timeout_s)
    orphaned = is_running() & (
        func.coalesce(Worker.lease_expires_at, Message.claimed_at) < clock() - queue_timeout_s
    )
    return (
        select(Message)
        .outerjoin(Worker, Worker.id == Message.worker_id)
        .where(is_unfinished(), or_(waited, orphaned))
    )


# built once: every process asks again and again
_OVERDUE = (
    overdue_messages(bindparam("queue_timeout_s", type_=Double()))
    .order_by(Message.session_id, Message.seq)
    .limit(bindparam("most", type_=Integer()))
)
