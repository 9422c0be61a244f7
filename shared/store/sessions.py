"""Sessions and what they remember."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Float, Text, case, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import insert_new
from shared.errors import SessionNotFound
from shared.store.dispatch import is_in_progress, is_unfinished
from shared.store.pages import fitting
from shared.store.records import MOST_TOKENS
from shared.tables import Item, Message, Project, VibeSession


@dataclass(frozen=True)
class SessionSummary:
    """A session with figures over its current generation's messages."""

    session: VibeSession
    messages: int
    unfinished: int
    running: bool
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Memory:
    """What a conversation's memory must be: so many items, the last ones by that message."""

    generation: int
    item_count: int
    last_message_id: UUID | None


async def ensure(
    db: AsyncSession, *, project_id: UUID, node_id: str | None, new: bool, **values: Any
) -> tuple[VibeSession, bool]:
    """Find the place's first conversation or make one; tell whether it was made.

    `values` are what else is said of one that is made: its title, its budgets. Two callers may
    race: the key is unique, the loser finds the winner's session.
    """
    base = f"project_{project_id}" + (f"_node_{node_id}" if node_id else "")
    number = await _next_number(db, project_id, node_id, base) if new else 1
    while True:
        key = base if number == 1 else f"{base}.{number}"
        made = await _insert(db, project_id=project_id, node_id=node_id, key=key, **values)
        if made is not None:
            return made, True
        if not new:
            found = await db.scalar(
                select(VibeSession).where(VibeSession.openai_session_key == key)
            )
            assert found is not None
            return found, False
        number += 1


async def _next_number(db: AsyncSession, project_id: UUID, node_id: str | None, base: str) -> int:
    keys = await db.scalars(
        select(VibeSession.openai_session_key).where(
            VibeSession.project_id == project_id,
            VibeSession.node_id.is_not_distinct_from(node_id),
        )
    )
    numbers = [int(key[len(base) + 1 :] or 1) for key in keys]
    return max(numbers, default=0) + 1


async def _insert(
    db: AsyncSession, *, project_id: UUID, node_id: str | None, key: str, **values: Any
) -> VibeSession | None:
    statement = (
        insert_new(VibeSession)
        .values(
            id=uuid4(), project_id=project_id, node_id=node_id, openai_session_key=key, **values
        )
        .returning(VibeSession)
    )
    return (await db.scalars(statement)).one_or_none()


async def get(db: AsyncSession, session_id: UUID, *, owner: str) -> VibeSession:
    """Read a session of a living project of that owner."""
    session = await db.scalar(
        select(VibeSession)
        .join(Project, Project.id == VibeSession.project_id)
        .where(VibeSession.id == session_id, Project.owner == owner, Project.deleted_at.is_(None))
    )
    if session is None:
        raise SessionNotFound(f"There is no session {session_id}.")
    return session


async def lock(db: AsyncSession, session_id: UUID) -> VibeSession | None:
    """Lock a session against every other transition of its messages until the commit."""
    return await db.scalar(
        select(VibeSession)
        .where(VibeSession.id == session_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


async def summary(db: AsyncSession, session_id: UUID) -> SessionSummary:
    """Read a session with the figures of its current generation."""
    row = (await db.execute(_summary_query().where(VibeSession.id == session_id))).one()
    return SessionSummary(*row)


async def summaries(
    db: AsyncSession, *, project_id: UUID, after: VibeSession | None, limit: int
) -> list[SessionSummary]:
    """List a project's sessions, oldest first, with the figures of their current generation."""
    chosen = (
        select(VibeSession.id)
        .where(VibeSession.project_id == project_id)
        .order_by(VibeSession.created_at, VibeSession.id)
        .limit(limit)
    )
    if after is not None:
        chosen = chosen.where(
            (VibeSession.created_at > after.created_at)
            | ((VibeSession.created_at == after.created_at) & (VibeSession.id > after.id))
        )
    rows = await db.execute(_summary_query().where(VibeSession.id.in_(chosen)))
    return [SessionSummary(*row) for row in rows]


def _summary_query() -> Any:
    unfinished = case((is_unfinished(), 1), else_=0)
    running = case((is_in_progress(), 1), else_=0)
    here = (Message.session_id == VibeSession.id) & (Message.generation == VibeSession.generation)
    return (
        select(
            VibeSession,
            func.count(Message.id),
            func.coalesce(func.sum(unfinished), 0),
            func.coalesce(func.max(running), 0),
            *(_tokens(name) for name in ("input_tokens", "output_tokens")),
        )
        .outerjoin(Message, here)
        .group_by(VibeSession.id)
        .order_by(VibeSession.created_at, VibeSession.id)
    )


def _tokens(name: str) -> Any:
    said = cast(Message.usage[name].as_string(), Float)
    # what no server can mean, in all calls of a message, does not count
    return func.coalesce(func.sum(case((said.between(0, 1000 * MOST_TOKENS), said))), 0)


async def change(db: AsyncSession, session_id: UUID, values: dict[str, Any]) -> None:
    """Give the session another title or other budgets."""
    if values:
        await db.execute(update(VibeSession).where(VibeSession.id == session_id).values(**values))


async def start_generation(db: AsyncSession, session: VibeSession) -> None:
    """Forget the conversation; the caller holds the lock and has ended its unfinished messages."""
    session.generation += 1
    session.item_count = 0
    session.last_message_id = None
    await db.flush()


async def lock_all(db: AsyncSession, project_id: UUID) -> Sequence[VibeSession]:
    """Lock every session of a locked project, in the order of their ids."""
    found = await db.scalars(
        select(VibeSession)
        .where(VibeSession.project_id == project_id)
        .order_by(VibeSession.id)
        .with_for_update(key_share=True)
    )
    return found.all()


async def memory(db: AsyncSession, session_id: UUID) -> Memory | None:
    """Read the memory's counters; with `items` of the same snapshot they belong together."""
    row = (
        await db.execute(
            select(
                VibeSession.generation, VibeSession.item_count, VibeSession.last_message_id
            ).where(VibeSession.id == session_id)
        )
    ).one_or_none()
    return Memory(*row) if row else None


async def items(
    db: AsyncSession, session_id: UUID, *, generation: int, start: int = 0, limit: int | None = None
) -> Sequence[Item]:
    """Read the items of one generation in their order, from position `start` on."""
    found = await db.scalars(
        select(Item)
        .where(Item.session_id == session_id, Item.generation == generation, Item.position >= start)
        .order_by(Item.position)
        .limit(limit)
    )
    return found.all()


async def items_on_page(
    db: AsyncSession, session_id: UUID, *, generation: int, start: int, limit: int
) -> int:
    """Return how many of at most `limit` items from position `start` on a page gets."""
    sizes = (
        select(func.length(cast(Item.item, Text)))
        .where(Item.session_id == session_id, Item.generation == generation, Item.position >= start)
        .order_by(Item.position)
    )
    return await fitting(db, sizes, limit)


async def writers_around(
    db: AsyncSession, session_id: UUID, *, generation: int, position: int
) -> tuple[UUID | None, UUID | None]:
    """Name the messages whose attempts wrote the item before a position and the one at it."""
    rows = await db.execute(
        select(Item.position, Item.message_id).where(
            Item.session_id == session_id,
            Item.generation == generation,
            Item.position.in_((position - 1, position)),
        )
    )
    found = {row.position: row.message_id for row in rows}
    return found.get(position - 1), found.get(position)


async def generations(db: AsyncSession, session_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Map those of the sessions that still exist to their current generation."""
    rows = await db.execute(
        select(VibeSession.id, VibeSession.generation)
        .join(Project, Project.id == VibeSession.project_id)
        .where(VibeSession.id.in_(session_ids), Project.deleted_at.is_(None))
    )
    return {row.id: row.generation for row in rows}
