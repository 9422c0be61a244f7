"""Sessions that nobody used for a long time, and their end with all that belongs to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.store import usage
from shared.store.dispatch import is_unfinished
from shared.tables import Item, Message, Project, VibeSession


@dataclass(frozen=True)
class Deleted:
    """Numbers of deleted rows; `oldest_s` is how long ago the oldest session was used last."""

    sessions: int = 0
    messages: int = 0
    items: int = 0
    oldest_s: float = 0.0

    def __add__(self, other: "Deleted") -> "Deleted":
        return Deleted(
            self.sessions + other.sessions,
            self.messages + other.messages,
            self.items + other.items,
            max(self.oldest_s, other.oldest_s),
        )


async def old_sessions(
    db: AsyncSession, *, unused_s: float, after: UUID | None, limit: int
) -> Sequence[UUID]:
    """List sessions of projects that exist, unused for so long, in the order of their ids.

    A session was used when its newest message ended, without one when it was made.
    """
    old = _old(unused_s).order_by(VibeSession.id).limit(limit)
    if after is not None:
        old = old.where(VibeSession.id > after)
    return [row.id for row in await db.execute(old)]


async def delete_sessions(
    db: AsyncSession, session_ids: Sequence[UUID], *, unused_s: float
) -> Deleted:
    """Delete those of the sessions that are still old, with all that belongs to them.

    Their tokens stay in the project's sums; revisions of its code that they made stay.
    """
    await _lock(db, session_ids)
    # read after the locks: a message that was accepted meanwhile is seen
    chosen = _old(unused_s).where(VibeSession.id.in_(session_ids))
    rows = (await db.execute(chosen)).all()
    ids = [row.id for row in rows]
    if not ids:
        return Deleted()
    await usage.keep(db, ids)
    items = await _delete(db, Item, Item.session_id.in_(ids))
    messages = await _delete(db, Message, Message.session_id.in_(ids))
    await _delete(db, VibeSession, VibeSession.id.in_(ids))
    return Deleted(len(ids), messages, items, max(row.age_s for row in rows))


async def _lock(db: AsyncSession, session_ids: Sequence[UUID]) -> None:
    mine = select(VibeSession.project_id).where(VibeSession.id.in_(session_ids))
    projects = select(Project.id).where(Project.id.in_(mine)).order_by(Project.id)
    await db.execute(projects.with_for_update(read=True, key_share=True))
    sessions = select(VibeSession.id).where(VibeSession.id.in_(session_ids))
    await db.execute(sessions.order_by(VibeSession.id).with_for_update())


async def _delete(db: AsyncSession, table: Any, where: ColumnElement[bool]) -> int:
    core = await db.connection()
    return (await core.execute(delete(table).where(where))).rowcount


def _old(unused_s: float) -> Select[UUID, float]:
    mine = Message.session_id == VibeSession.id
    newest = select(Message.ended_at).where(mine).order_by(Message.seq.desc()).limit(1)
    used_at = func.coalesce(newest.scalar_subquery(), VibeSession.created_at)
    unfinished = select(Message.id).where(mine, is_unfinished()).exists()
    return (
        select(VibeSession.id, (clock() - used_at).label("age_s"))
        .join(Project, Project.id == VibeSession.project_id)
        .where(
            Project.deleted_at.is_(None),
            VibeSession.created_at < clock() - unused_s,
            used_at < clock() - unused_s,
            ~unfinished,
        )
    )
