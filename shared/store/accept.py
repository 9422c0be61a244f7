"""The acceptance of a message: it becomes a row with its place in the session's order."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Uuid, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.errors import (
    IdempotencyKeyReused,
    ProjectQueueFull,
    ServiceQueueFull,
    SessionBusy,
    SessionNotFound,
    SessionQueueFull,
)
from shared.settings import Settings
from shared.statements import CompiledStatement
from shared.store import dispatch, estimates
from shared.store.dispatch import is_unfinished
from shared.store.transitions import Ended, cancel_session
from shared.tables import Message, MessageStatus, Project, VibeSession

_FRESH_S = 1.0


class OnBusy(StrEnum):
    """The behaviour of a new message while its session has an unfinished one."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class NewMessage:
    """A message before its acceptance, with the id that it will have."""

    prompt: str
    model: str
    on_busy: OnBusy
    idempotency_key: str | None
    request_hash: str
    trace_id: str
    streamed: bool = False
    message_id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True)
class Accepted:
    """A stored message, and the work that follows its commit.

    `replayed` tells that the idempotency key was known; `ended.ids` are the messages that
    `on_busy=rollback` cancelled.
    """

    message: Message
    replayed: bool = False
    ended: Ended = field(default_factory=Ended)


class UnfinishedCount:
    """How many messages of the whole service are unfinished, as this process knows.

    It is read at most once a second; meanwhile the process adds the messages that it accepts. So
    several processes may together accept somewhat more than the limit.
    """

    def __init__(self) -> None:
        self._count = 0
        self._read_at = -math.inf

    async def read(self, db: AsyncSession) -> int:
        """Return the count, read from the database again if it is a second old."""
        if monotonic() - self._read_at >= _FRESH_S:
            self._read_at = monotonic()  # at once: one reads, the others go on
            counted = await _COUNT_ALL.first(db, {})
            assert counted is not None, "it counts"
            self._count = counted.count
        return self._count

    def add(self, messages: int) -> None:
        """Add messages that were just accepted; a negative number where a rollback ended more."""
        self._count += messages


async def accept(
    db: AsyncSession,
    session_id: UUID,
    draft: NewMessage,
    *,
    owner: str,
    settings: Settings,
    unfinished: UnfinishedCount,
) -> Accepted:
    """Store a message as the last of its session: commit 1.

    In this order, under the session's lock: idempotency key, on_busy, limits, insert. A refused
    message changes nothing, since the caller's transaction is rolled back by the error. May be
    repeated with the same draft: it is accepted once.

    Raises:
        SessionNotFound, IdempotencyKeyReused, SessionBusy, and the three QueueFull.
    """
    place = await _NEXT_PLACE.first(db, {"of_session": session_id})
    situation = await _look(db, place, draft, owner) if place else None
    if place is None or situation is None:
        raise SessionNotFound(f"There is no session {session_id}.")
    if situation.known == draft.message_id:  # a commit whose acknowledgement was lost
        accepted = await db.get_one(Message, draft.message_id)
        return Accepted(accepted, ended=Ended(ready=(accepted.id,)))
    if situation.known is not None:
        known = await _known(db, situation.known, draft, lifetime_s=settings.key_lifetime_s)
        if known is not None:
            return Accepted(known, replayed=True)
    in_service = await unfinished.read(db)
    ended = await _make_room(db, place, situation, draft, in_service=in_service, settings=settings)
    enqueued = not situation.here and not situation.next_waits
    enqueued = enqueued and situation.in_flight < settings.project_concurrency
    message = await _insert(db, place, draft, enqueued=enqueued)
    unfinished.add(1 - len(ended.ids))
    ready: tuple[UUID, ...] = (message.id,) if enqueued else ()
    if ended.ids or situation.next_waits:
        ready = await dispatch.mark_enqueued(
            db, place.project_id, limit=settings.project_concurrency
        )
    return Accepted(message, ended=ended | Ended(ready=ready))


async def _look(db: AsyncSession, place: Any, draft: NewMessage, owner: str) -> Any | None:
    """Read all that decides over the message; None if the project is another's, or deleted.

    A statement after the one that locked: deleting a project locks its sessions, so this one
    sees that commit.
    """
    seen = {"of_session": place.id, "of_project": place.project_id, "of_owner": owner}
    sent = {"of_draft": draft.message_id, "key": draft.idempotency_key}
    return await _SITUATION.first(db, seen | sent)


async def _known(
    db: AsyncSession, message_id: UUID, draft: NewMessage, *, lifetime_s: float
) -> Message | None:
    message = await db.get_one(Message, message_id)
    if await _is_forgotten(db, message, lifetime_s):
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
    db: AsyncSession,
    place: Any,
    situation: Any,
    draft: NewMessage,
    *,
    in_service: int,
    settings: Settings,
) -> Ended:
    here = situation.here
    if here and draft.on_busy is OnBusy.REJECT:
        raise SessionBusy(
            f"The session has {here} unfinished message(s). Wait for them, or send with "
            "on_busy `enqueue` or `rollback`."
        )
    freed = here if draft.on_busy is OnBusy.ROLLBACK else 0
    full = _full(here - freed, situation.in_project - freed, in_service - freed, settings)
    if full is not None:
        kind, detail = full
        wait_s = await estimates.retry_after(db, in_service)
        raise kind(f"{detail} Try again in {wait_s} s.", retry_after=wait_s)
    if not freed:
        return Ended()
    return await cancel_session(
        db, place.id, project_id=place.project_id, limit=settings.project_concurrency
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


async def _insert(db: AsyncSession, place: Any, draft: NewMessage, *, enqueued: bool) -> Message:
    values = _columns_of(draft) | {
        "session_id": place.id,
        "project_id": place.project_id,
        "generation": place.generation,
        "seq": place.next_seq - 1,
    }
    await (_INSERT_ENQUEUED if enqueued else _INSERT).all(db, values)
    return Message(**values, status=MessageStatus.QUEUED)


def _columns_of(draft: NewMessage) -> dict[str, Any]:
    """Give what a message's row has of its draft, by the names of the columns."""
    same = ("model", "idempotency_key", "request_hash", "trace_id", "streamed")
    named = {name: getattr(draft, name) for name in same}
    return {"id": draft.message_id, "content": draft.prompt, **named}


def _unfinished_count(*where: ColumnElement[bool]) -> Any:
    return select(func.count(Message.id)).where(is_unfinished(), *where).scalar_subquery()


_NEXT_PLACE = CompiledStatement(
    update(VibeSession)
    .where(VibeSession.id == bindparam("of_session"))
    .values(next_seq=VibeSession.next_seq + 1)
    .returning(VibeSession.id, VibeSession.project_id, VibeSession.generation, VibeSession.next_seq)
)
_OF_SESSION = Message.session_id == bindparam("of_session")
_SITUATION = CompiledStatement(
    select(
        select(Message.id)
        .where(
            or_(
                Message.id == bindparam("of_draft"),
                _OF_SESSION & (Message.idempotency_key == bindparam("key")),
            )
        )
        .scalar_subquery()
        .label("known"),
        _unfinished_count(_OF_SESSION).label("here"),
        _unfinished_count(Message.project_id == bindparam("of_project")).label("in_project"),
        dispatch.count_in_flight(bindparam("of_project", type_=Uuid())).label("in_flight"),
        dispatch.next_waits(bindparam("of_project", type_=Uuid())).label("next_waits"),
    ).where(
        Project.id == bindparam("of_project"),
        Project.owner == bindparam("of_owner"),
        Project.deleted_at.is_(None),
    )
)
_COUNT_ALL = CompiledStatement(select(func.count(Message.id).label("count")).where(is_unfinished()))
_INSERT = CompiledStatement(insert(Message))
_INSERT_ENQUEUED = CompiledStatement(insert(Message).values(enqueued_at=clock()))
