"""Accepting a message: what a client sent becomes a row, and its place in the order is settled."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import (
    IdempotencyKeyReused,
    ProjectQueueFull,
    ServiceQueueFull,
    SessionBusy,
    SessionNotFound,
    SessionQueueFull,
)
from shared.settings import Settings
from shared.store import cancels, heads
from shared.store.states import is_unfinished
from shared.store.transitions import Ended
from shared.tables import (
    Message,
    Project,
    VibeSession,
)

_DRAIN_WINDOW_S = 60


class OnBusy(StrEnum):
    """What a new message does when its session has an unfinished one."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Draft:
    """What a client sent: a message before it is accepted."""

    prompt: str
    model: str
    on_busy: OnBusy
    idempotency_key: str | None
    request_hash: str
    trace_id: str


@dataclass(frozen=True)
class Accepted:
    """A message that is stored, and what to do now that it is.

    `replayed` tells that the idempotency key was known; `ended.ids` are the messages that
    `on_busy=rollback` cancelled.
    """

    message: Message
    replayed: bool = False
    ended: Ended = field(default_factory=Ended)


async def accept(
    db: AsyncSession, session_id: UUID, draft: Draft, *, owner: str, settings: Settings
) -> Accepted:
    """Store a message as the last of its session: commit 1.

    In this order, under the session's lock: idempotency key, on_busy, limits, insert. A refused
    message changes nothing, since the caller's transaction is rolled back by the error.

    Raises:
        SessionNotFound, IdempotencyKeyReused, SessionBusy, and the three QueueFull.
    """
    session = await _next_place(db, session_id, owner=owner)
    known = await _known(db, session_id, draft, lifetime_s=settings.key_lifetime_s)
    if known is not None:
        return Accepted(known, replayed=True)
    ended = await _make_room(db, session, draft, settings)
    message = await _insert(db, session, draft)
    ready = await heads.take_hints(db, session.project_id, limit=settings.project_concurrency)
    return Accepted(message, ended=Ended(ids=ended, heads=ready))


async def _next_place(db: AsyncSession, session_id: UUID, *, owner: str) -> VibeSession:
    """Lock the session by taking its next number, then see whether its project still lives.

    Deleting a project locks its sessions, so the second statement sees that commit.
    """
    session = await db.scalar(
        update(VibeSession)
        .where(VibeSession.id == session_id)
        .values(next_seq=VibeSession.next_seq + 1)
        .returning(VibeSession)
        .execution_options(synchronize_session=False)
    )
    if session is not None:
        living = select(Project.id).where(
            Project.id == session.project_id, Project.owner == owner, Project.deleted_at.is_(None)
        )
        if await db.scalar(living):
            return session
    raise SessionNotFound(f"There is no session {session_id}.")


async def _known(
    db: AsyncSession, session_id: UUID, draft: Draft, *, lifetime_s: float
) -> Message | None:
    if draft.idempotency_key is None:
        return None
    key = draft.idempotency_key
    named = (Message.session_id == session_id) & (Message.idempotency_key == key)
    message = await db.scalar(select(Message).where(named))
    if message is None or await _is_forgotten(db, message, lifetime_s):
        return None
    if message.request_hash != draft.request_hash:
        raise IdempotencyKeyReused(
            "This Idempotency-Key came before with another prompt or other options. "
            "Use a new key for a new message.",
            message_id=str(message.id),
        )
    return message


async def _is_forgotten(db: AsyncSession, message: Message, lifetime_s: float) -> bool:
    """Free the key of a message that ended long ago; one that is unfinished keeps it."""
    ended_long_ago = (Message.id == message.id) & (Message.ended_at < clock() - lifetime_s)
    freed = update(Message).where(ended_long_ago).values(idempotency_key=None)
    return await db.scalar(freed.returning(Message.id)) is not None


async def _make_room(
    db: AsyncSession, session: VibeSession, draft: Draft, settings: Settings
) -> tuple[UUID, ...]:
    here, in_project, in_service = await _unfinished_counts(db, session)
    if here and draft.on_busy is OnBusy.REJECT:
        raise SessionBusy(
            f"The session has {here} unfinished message(s). Wait for them, or send with "
            "on_busy `enqueue` or `rollback`."
        )
    freed = here if draft.on_busy is OnBusy.ROLLBACK else 0
    full = _full(here - freed, in_project - freed, in_service - freed, settings)
    if full is not None:
        kind, detail = full
        wait_s = await _retry_after(db, in_service)
        raise kind(f"{detail} Try again in {wait_s} s.", retry_after=wait_s)
    return await cancels.cancel_session(db, session) if freed else ()


async def _unfinished_counts(db: AsyncSession, session: VibeSession) -> tuple[int, int, int]:
    places = {"here": session.id, "of_project": session.project_id}
    here, in_project, in_service = (await db.execute(_UNFINISHED_COUNTS, places)).one()
    return here, in_project, in_service


def _unfinished_count(*where: ColumnElement[bool]) -> Any:
    return select(func.count(Message.id)).where(is_unfinished(), *where).scalar_subquery()


_UNFINISHED_COUNTS = select(
    _unfinished_count(Message.session_id == bindparam("here")),
    _unfinished_count(Message.project_id == bindparam("of_project")),
    _unfinished_count(),
)


def _full(
    here: int, in_project: int, in_service: int, settings: Settings
) -> tuple[type[SessionQueueFull | ProjectQueueFull | ServiceQueueFull], str] | None:
    if here >= settings.session_queue_limit:
        return SessionQueueFull, f"The session has {here} unfinished messages, as many as it may."
    if in_project >= settings.project_queue_limit:
        return ProjectQueueFull, f"The project has {in_project} unfinished messages."
    if in_service >= settings.service_queue_limit:
        return ServiceQueueFull, f"The service has {in_service} unfinished messages."
    return None


async def _retry_after(db: AsyncSession, unfinished: int) -> int:
    """Estimate when a tenth of the queue is gone, by what ended in the last minute (1 to 60 s)."""
    # a subquery: PostgreSQL uses no index for what it must compute anew for each row
    since = select(clock() - _DRAIN_WINDOW_S).scalar_subquery()
    ended = await db.scalar(select(func.count(Message.id)).where(Message.ended_at > since))
    rate = max(ended or 0, 1) / _DRAIN_WINDOW_S
    return min(max(math.ceil(unfinished / 10 / rate), 1), 60)


async def _insert(db: AsyncSession, session: VibeSession, draft: Draft) -> Message:
    statement = (
        insert(Message)
        .values(
            id=uuid4(),
            session_id=session.id,
            project_id=session.project_id,
            generation=session.generation,
            seq=session.next_seq - 1,
            content=draft.prompt,
            model=draft.model,
            idempotency_key=draft.idempotency_key,
            request_hash=draft.request_hash,
            trace_id=draft.trace_id,
        )
        .returning(Message)
    )
    return (await db.scalars(statement)).one()
