"""Messages that waited too long end, whether there is a worker or not: both processes look."""

from shared.announcer import Announcer
from shared.database import Database, retried
from shared.settings import Settings
from shared.store import cancels
from shared.store.transitions import Ended
from shared.tables import Message

_AT_ONCE = 100


async def end_overdue(database: Database, announcer: Announcer, settings: Settings) -> None:
    """Fail what is queued, or runs at no living worker, for longer than `QUEUE_TIMEOUT_S`."""
    async with database.read() as db:
        overdue = await cancels.overdue(
            db, queue_timeout_s=settings.queue_timeout_s, limit=_AT_ONCE
        )
    for message in overdue:
        await announcer.announce(await _end(database, message, settings))


@retried
async def _end(database: Database, message: Message, settings: Settings) -> Ended:
    async with database.begin() as db:
        return await cancels.expire(
            db,
            message,
            queue_timeout_s=settings.queue_timeout_s,
            limit=settings.project_concurrency,
        )
