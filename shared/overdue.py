"""The end of overdue messages, by API processes and workers: one is enough."""

from shared.announcer import Announcer
from shared.database import Database
from shared.settings import Settings
from shared.store import transitions

_AT_ONCE = 100


async def end_overdue(database: Database, announcer: Announcer, settings: Settings) -> None:
    """Fail messages that were queued, or at no living worker, for more than `QUEUE_TIMEOUT_S`."""
    async with database.read() as db:
        overdue = await transitions.overdue(
            db, queue_timeout_s=settings.queue_timeout_s, limit=_AT_ONCE
        )
    for message in overdue:
        ended = await database.write(
            transitions.expire,
            message,
            queue_timeout_s=settings.queue_timeout_s,
            limit=settings.project_concurrency,
        )
        await announcer.announce(ended)
