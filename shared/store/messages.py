"""Messages as clients see them: reading what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from shared.dialects import any_of, clock
from shared.errors import MessageNotFound
from shared.statements import CompiledStatement
from shared.store.dispatch import is_unfinished
from shared.store.pages import fitting
from shared.tables import (
    UNFINISHED,
    Attempt,
    Item,
    Message,
    MessageResponse,
    Project,
    VibeSession,
)


@dataclass(frozen=True)
class FullMessage:
    """A message with everything that its attempts left behind."""

    message: Message
    response: MessageResponse | None
    items: Sequence[Item]
    attempts: Sequence[Attempt]


async def get(db: AsyncSession, message_id: UUID, *, owner: str) -> Message:
    """Read a message of a living project of that owner."""
    message = await db.scalar(_owned(owner).where(Message.id == message_id))
    if message is None:
        raise MessageNotFound(f"There is no message {message_id}.")
    return message


async def reread(db: AsyncSession, message_id: UUID) -> Message:
    """Read a message that was there before, also when its project was deleted in the meantime."""
    found = await _BY_ID.first(db, {"of_message": message_id})
    assert found is not None, "messages of a deleted project are purged much later"
    return Message(**found._asdict())


def has_ended(message: Message) -> bool:
    """Tell whether nothing will become of it any more."""
    return message.status not in UNFINISHED


async def listing(
    db: AsyncSession, session: VibeSession, *, after: Message | None, limit: int
) -> Sequence[Message]:
    """List the messages of the session's current generation, oldest first."""
    found = await db.scalars(
        select(Message)
        .where(
            Message.session_id == session.id,
            Message.generation == session.generation,
            Message.seq > (after.seq if after else 0),
        )
        .order_by(Message.seq)
        .limit(limit)
    )
    return found.all()


async def listed_on_page(
    db: AsyncSession, session: VibeSession, *, after: Message | None, limit: int
) -> int:
    """Return how many of at most `limit` messages after one a page gets."""
    texts = (Message.content, Message.reply, Message.diff)
    lengths = [func.coalesce(func.length(text), 0) for text in texts]
    sizes = (
        select(lengths[0] + lengths[1] + lengths[2])
        .where(
            Message.session_id == session.id,
            Message.generation == session.generation,
            Message.seq > (after.seq if after else 0),
        )
        .order_by(Message.seq)
    )
    return await fitting(db, sizes, limit)


async def full(db: AsyncSession, message_id: UUID, *, owner: str) -> FullMessage:
    """Read a message with its responses, items and attempts."""
    message = await get(db, message_id, owner=owner)
    items = await db.scalars(
        select(Item)
        # forks have copies
        .where(Item.message_id == message_id, Item.session_id == message.session_id)
        .order_by(Item.position)
    )
    attempts = await db.scalars(
        select(Attempt).where(Attempt.message_id == message_id).order_by(Attempt.number)
    )
    return FullMessage(
        message, await db.get(MessageResponse, message_id), items.all(), attempts.all()
    )


async def ended_among(db: AsyncSession, message_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Name those of the messages that have ended."""
    return [row.id for row in await _ENDED.all(db, {"ids": message_ids})]


_ENDED = CompiledStatement(select(Message.id).where(any_of(Message.id, "ids"), ~is_unfinished()))


def _owned(owner: str) -> Select[Message]:
    project = aliased(Project)
    return (
        select(Message)
        .join(project, project.id == Message.project_id)
        .where(project.owner == owner, project.deleted_at.is_(None))
    )


_AGO = func.coalesce(clock() - Message.ended_at, 0.0).label("ended_ago_s")
_BY_ID = CompiledStatement(select(Message, _AGO).where(Message.id == bindparam("of_message")))
