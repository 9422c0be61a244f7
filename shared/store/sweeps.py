"""What one worker at a time looks after for all: who leads, which projects wait, what is purged."""

import zlib
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.tables import Message, MessageStatus, Project


async def lead(db: AsyncSession, namespace: str) -> bool:
    """Try to be the only sweeper until the commit; on SQLite the write lock is that already."""
    if db.get_bind().dialect.name == "sqlite":
        return True
    key = zlib.crc32(f"sweep {namespace}".encode())
    return bool(await db.scalar(select(func.pg_try_advisory_xact_lock(key))))


async def unhinted_projects(db: AsyncSession, *, limit: int) -> Sequence[UUID]:
    """Name the projects whose queued messages waited longest without a hint."""
    found = await db.scalars(
        select(Message.project_id)
        .where(Message.status == MessageStatus.QUEUED, Message.hinted_at.is_(None))
        .group_by(Message.project_id)
        .order_by(func.min(Message.queued_at))
        .limit(limit)
    )
    return found.all()


async def purge_projects(db: AsyncSession, *, deleted_before_s: float) -> int:
    """Delete the rows of projects that were deleted so long ago, with all that is below them."""
    purged = await db.scalars(
        delete(Project)
        .where(Project.deleted_at < clock() - deleted_before_s)
        .returning(Project.id)
        .execution_options(synchronize_session=False)
    )
    return len(purged.all())
