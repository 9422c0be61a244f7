"""Everything that the database holds of a session, for who compares it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from shared.store import sessions
from shared.tables import Attempt, Item, Message, MessageResponse, Revision, VibeSession


@dataclass(frozen=True)
class SessionRows:
    """A session's rows; `items` are those of its current generation.

    Of the messages, in their order, only what is compared is loaded.
    """

    session: VibeSession
    items: Sequence[Item]
    messages: Sequence[Message]
    attempts: Sequence[Attempt]
    answered: frozenset[UUID]
    """Messages whose full response is there."""
    revisions: frozenset[tuple[UUID | None, int]]
    """Messages, and the revision that each made."""


async def read(db: AsyncSession, session_id: UUID) -> SessionRows | None:
    """Read a session's rows; None: there is none. In a snapshot they belong together."""
    session = await db.get(VibeSession, session_id)
    if session is None:
        return None
    here = Message.session_id == session_id
    messages = await db.scalars(
        select(Message)
        .where(here)
        .order_by(Message.seq)
        .options(
            load_only(
                Message.generation,
                Message.seq,
                Message.status,
                Message.attempt,
                Message.revision,
                Message.error,
            )
        )
    )
    attempts = await db.scalars(
        select(Attempt).join(Message, Message.id == Attempt.message_id).where(here)
    )
    answered = await db.scalars(
        select(MessageResponse.message_id)
        .join(Message, Message.id == MessageResponse.message_id)
        .where(here)
    )
    revisions = await db.execute(
        select(Revision.message_id, Revision.number)
        .join(Message, Message.id == Revision.message_id)
        .where(here)
    )
    return SessionRows(
        session=session,
        items=await sessions.items(db, session_id, generation=session.generation),
        messages=messages.all(),
        attempts=attempts.all(),
        answered=frozenset(answered),
        revisions=frozenset((row.message_id, row.number) for row in revisions),
    )
