"""Ending messages that no attempt finishes: cancelled by people, or waiting for too long."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Failure, FailureCode
from shared.store import heads, projects, sessions
from shared.store.claims import lost
from shared.store.transitions import Ended, end
from shared.tables import UNFINISHED, Message, MessageStatus, Project, VibeSession

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
    await end(db, message, MessageStatus.CANCELLED, CANCELLED)
    ready = await heads.take_hints(db, message.project_id, limit=limit)
    return Ended(ids=(message.id,), heads=ready)


async def cancel_session(db: AsyncSession, session: VibeSession) -> tuple[UUID, ...]:
    """End every unfinished message of a locked session; name them, in their order."""
    messages = await db.scalars(
        select(Message)
        .where(Message.session_id == session.id, Message.status.in_(UNFINISHED))
        .order_by(Message.seq)
    )
    ended = messages.all()
    for message in ended:
        await end(db, message, MessageStatus.CANCELLED, CANCELLED)
    return tuple(message.id for message in ended)


async def clear_session(db: AsyncSession, session_id: UUID, *, limit: int) -> Ended:
    """End what is unfinished and begin a new generation of the conversation."""
    session = await sessions.lock(db, session_id)
    if session is None:
        return Ended()
    ended = await cancel_session(db, session)
    await sessions.start_generation(db, session)
    return Ended(ids=ended, heads=await heads.take_hints(db, session.project_id, limit=limit))


async def delete_project(db: AsyncSession, project: Project) -> Ended:
    """Hide a locked project with all that is below it, and end what is unfinished there."""
    await projects.mark_deleted(db, project)
    ended: tuple[UUID, ...] = ()
    for session in await sessions.lock_all(db, project.id):
        ended += await cancel_session(db, session)
    return Ended(ids=ended)


async def expire(db: AsyncSession, message: Message, *, limit: int) -> Ended:
    """Fail an overdue message; tolerates that it was claimed or released in the meantime."""
    await sessions.lock(db, message.session_id)
    before = (message.attempt, message.status, message.queued_at)
    message = await db.get_one(Message, message.id, populate_existing=True)
    if (message.attempt, message.status, message.queued_at) != before:
        return Ended()
    queued = message.status == MessageStatus.QUEUED
    await end(
        db, message, MessageStatus.FAILED, EXPIRED if queued else lost(message.lost_count + 1)
    )
    ready = await heads.take_hints(db, message.project_id, limit=limit)
    return Ended(ids=(message.id,), heads=ready)
