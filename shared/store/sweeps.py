"""What one worker at a time looks after for all: who leads, what is purged."""

import zlib

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.tables import Project


async def lead(db: AsyncSession, namespace: str) -> bool:
    """Try to be the only sweeper until the commit; on SQLite the write lock is that already."""
    if db.get_bind().dialect.name == "sqlite":
        return True
    key = zlib.crc32(f"sweep {namespace}".encode())
    return bool(await db.scalar(select(func.pg_try_advisory_xact_lock(key))))


async def purge_projects(db: AsyncSession, *, deleted_before_s: float) -> int:
    """Delete the rows of projects that were deleted so long ago, with all that is below them."""
    purged = await db.scalars(
        delete(Project)
        .where(Project.deleted_at < clock() - deleted_before_s)
        .returning(Project.id)
        .execution_options(synchronize_session=False)
    )
    return len(purged.all())
