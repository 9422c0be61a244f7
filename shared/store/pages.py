"""A bound on what a page of a list holds, in characters: entries may be large."""

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

LARGEST_PAGE = 8 * 2**20


async def fitting(db: AsyncSession, sizes: Select[int], limit: int) -> int:
    """Return how many entries a page gets: `limit`, or fewer if more would be too large.

    `sizes` selects the sizes of the entries in their order. One entry always fits.
    """
    total = 0
    for count, size in enumerate(await db.scalars(sizes.limit(limit))):
        total += size
        if count and total > LARGEST_PAGE:
            return count
    return limit
