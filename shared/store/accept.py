"""Accepting a message: what a client sent becomes a row, and its place in the order is settled."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Uuid, bindparam, func, insert, or_, select, update
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
from shared.statements import Prepared
from shared.store import cancels, dispatch, estimates
from shared.store.states import is_unfinished
from shared.store.transitions import Ended
from shared.tables import Message, MessageStatus, Project, VibeSession


class OnBusy(StrEnum):
    """What a new message does when its session has an unfinished one."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Draft:
    """What a client sent: a message before it is accepted, under the id that it will have."""

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
        return Accepted(accepted, ended=Ended(heads=(accepted.id,)))
    if situation.known is not None:
        known = await _known(db, situation.known, draft, lifetime_s=settings.key_lifetime_s)
        if known is not None:
            return Accepted(known, replayed=True)
    ended = await _make_room(db, place, situation, draft, settings)
    hinted = not situation.here and not situation.heads_wait
    hinted = hinted and situation.under_way < settings.project_concurrency
    message = await _insert(db, place, draft, hinted=hinted)
    ready: tuple[UUID, ...] = (message.id,) if hinted else ()
    if ended.ids or situation.heads_wait:
        ready = await dispatch.take_hints(db, place.project_id, limit=settings.project_concurrency)
    return Accepted(message, ended=ended | Ended(heads=ready))


async def _look(db: AsyncSession, place: Any, draft: Draft, owner: str) -> Any | None:
    """Read all that decides over the message; None if the project is another's, or deleted.

    A statement after the one that locked: deleting a project locks its sessions, so this one
    sees that commit.
    """
    seen = {"of_session": place.id, "of_project": place.project_id, "of_owner": owner}
    sent = {"of_draft": draft.message_id, "key": draft.idempotency_key}
    return await _SITUATION.first(db, seen | sent)


async def _known(
    db: AsyncSession, message_id: UUID, draft: Draft, *, lifetime_s: float
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
    db: AsyncSession, place: Any, situation: Any, draft: Draft, settings: Settings
) -> Ended:
    here = situation.here
    if here and draft.on_busy is OnBusy.REJECT:
        raise SessionBusy(
            f"The session has {here} unfinished message(s). Wait for them, or send with "
            "on_busy `enqueue` or `rollback`."
        )
    freed = here if draft.on_busy is OnBusy.ROLLBACK else 0
    full = _full(here - freed, situation.in_project - freed, situation.in_service - freed, settings)
    if full is not None:
        kind, detail = full
        wait_s = await estimates.retry_after(db, situation.in_service)
        raise kind(f"{detail} Try again in {wait_s} s.", retry_after=wait_s)
    if not freed:
        return Ended()
    return await cancels.cancel_session(db, place.id, project_id=place.project_id)


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


async def _insert(db: AsyncSession, place: Any, draft: Draft, *, hinted: bool) -> Message:
    values = columns_of(draft) | {
        "session_id": place.id,
        "project_id": place.project_id,
        "generation": place.generation,
        "seq": place.next_seq - 1,
    }
    await (_INSERT_HINTED if hinted else _INSERT).all(db, values)
    return Message(**values, status=MessageStatus.QUEUED)


def columns_of(draft: Draft) -> dict[str, Any]:
    """Give what a message's row has of its draft, by the names of the columns."""
    same = ("model", "idempotency_key", "request_hash", "trace_id", "streamed")
    named = {name: getattr(draft, name) for name in same}
    return {"id": draft.message_id, "content": draft.prompt, **named}


def _unfinished_count(*where: ColumnElement[bool]) -> Any:
    return select(func.count(Message.id)).where(is_unfinished(), *where).scalar_subquery()


# built once: to build a statement takes longer than to run it
_NEXT_PLACE = Prepared(
    update(VibeSession)
    .where(VibeSession.id == bindparam("of_session"))
    .values(next_seq=VibeSession.next_seq + 1)
    .returning(VibeSession.id, VibeSession.project_id, VibeSession.generation, VibeSession.next_seq)
)
_OF_SESSION = Message.session_id == bindparam("of_session")
_SITUATION = Prepared(
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
        _unfinished_count().label("in_service"),
        dispatch.under_way(bindparam("of_project", type_=Uuid())).label("under_way"),
        dispatch.heads_wait(bindparam("of_project", type_=Uuid())).label("heads_wait"),
    ).where(
        Project.id == bindparam("of_project"),
        Project.owner == bindparam("of_owner"),
        Project.deleted_at.is_(None),
    )
)
_INSERT = Prepared(insert(Message))
_INSERT_HINTED = Prepared(insert(Message).values(hinted_at=clock()))
