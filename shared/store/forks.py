"""Forks: a new session that remembers what another one remembered after one of its messages."""

from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Uuid, exists, func, insert, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from shared.errors import MemoryIncomplete, MessageNotFound, MessageUnfinished
from shared.store import projects, sessions
from shared.tables import UNFINISHED, Item, Message, MessageStatus, Project, Revision, VibeSession

_SUFFIX = " (fork)"
_LONGEST_NAME = 200


async def fork(
    db: AsyncSession, message: Message, project: Project, *, copy_project: bool
) -> VibeSession:
    """Begin a session with the memory as it was after an ended message of a locked project.

    After one that failed or was cancelled that is what it was before. With `copy_project` the
    session belongs to a copy of the project, whose revision 1 is the code as it was then. Budgets
    are copied: a fork is no way around them.

    Raises:
        MessageNotFound: its session was deleted meanwhile.
        MessageUnfinished: what will be remembered is not known yet.
        MemoryIncomplete: items are missing.
    """
    if message.status in UNFINISHED:
        raise MessageUnfinished(
            "The message has not ended. Fork it when it has, or fork the one before it.",
            message_id=str(message.id),
        )
    origin = await sessions.lock(db, message.session_id)
    if origin is None:
        raise MessageNotFound(f"There is no message {message.id}.")
    place = await _copy(db, message, project) if copy_project else project
    session, _ = await sessions.ensure(
        db,
        project_id=place.id,
        node_id=origin.node_id,
        new=True,
        title=origin.title,
        budget_tokens=origin.budget_tokens,
        budget_usd=origin.budget_usd,
    )
    session.forked_from_message_id = message.id
    await _copy_items(db, message, session)
    await _count_items(db, message, session, origin)
    await db.flush()
    return session


async def _copy(db: AsyncSession, message: Message, project: Project) -> Project:
    name = project.name[: _LONGEST_NAME - len(_SUFFIX)] + _SUFFIX
    return await projects.create(
        db,
        owner=project.owner,
        name=name,
        instructions=project.instructions,
        code=await _code_after(db, message),
        budget_tokens=project.budget_tokens,
        budget_usd=project.budget_usd,
    )


async def _code_after(db: AsyncSession, message: Message) -> str:
    """Read the code that a message made, or that was there when it ended."""
    if message.revision is not None:
        then = Revision.number == message.revision
    else:  # the first is older than every message, whatever the clock said
        then = or_(Revision.number == 1, Revision.created_at <= message.ended_at)
    newest = (
        select(Revision.code)
        .where(Revision.project_id == message.project_id, then)
        .order_by(Revision.number.desc())
        .limit(1)
    )
    return (await db.scalars(newest)).one()


async def _copy_items(db: AsyncSession, message: Message, session: VibeSession) -> None:
    remembered = select(
        literal(session.id, Uuid()),
        literal(session.generation, Integer()),
        Item.position,
        Item.message_id,
        Item.item,
    ).where(_beside(message), ~_written_later(message))
    columns = ["session_id", "generation", "position", "message_id", "item"]
    await db.execute(insert(Item).from_select(columns, remembered))


def _beside(message: Message) -> ColumnElement[bool]:
    """Say in SQL that an item is of the conversation to which a message belongs."""
    return (Item.session_id == message.session_id) & (Item.generation == message.generation)


def _written_later(message: Message) -> ColumnElement[bool]:
    later = aliased(Message)
    return exists().where(
        later.id == Item.message_id,
        later.session_id == message.session_id,  # not where this session was forked from
        later.seq > message.seq,
    )


async def _count_items(
    db: AsyncSession, message: Message, session: VibeSession, origin: VibeSession
) -> None:
    here = (Item.session_id == session.id) & (Item.generation == session.generation)
    count = await db.scalar(select(func.count()).where(here)) or 0
    newest = select(Item.position, Item.message_id).where(here).order_by(Item.position.desc())
    last = (await db.execute(newest.limit(1))).one_or_none()
    session.item_count = count
    session.last_message_id = last.message_id if last else None
    answered = await _last_answered(db, message, until=message.seq)
    end = await _end(db, message, origin)
    if (
        (answered is not None and session.last_message_id != answered)
        or count != (last.position + 1 if last else 0)
        or (end is not None and count != end)
    ):
        raise MemoryIncomplete(
            "Some of what was remembered after this message is no longer there. Fork another one; "
            "GET /sessions/{id}/check of its session tells what is missing.",
            message_id=str(message.id),
        )


async def _end(db: AsyncSession, message: Message, origin: VibeSession) -> int | None:
    """Tell where the memory after a message ends, from what came then; None: nothing says it."""
    following = select(func.min(Item.position)).where(_beside(message), _written_later(message))
    end: int | None = await db.scalar(following)
    if end is not None or message.generation != origin.generation:
        return end
    newest = await _last_answered(db, message, until=origin.next_seq)
    before = await _last_answered(db, message, until=message.seq)
    return origin.item_count if newest == before else None


async def _last_answered(db: AsyncSession, message: Message, *, until: int) -> UUID | None:
    """Name the last message that was answered so far; None: none since the beginning."""
    return await db.scalar(
        select(Message.id)
        .where(
            Message.session_id == message.session_id,
            Message.generation == message.generation,
            Message.seq <= until,
            Message.status == MessageStatus.COMPLETED,
        )
        .order_by(Message.seq.desc())
        .limit(1)
    )
