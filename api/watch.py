"""The API's share of ending what waits too long: without any worker, messages still end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.announcer import Announcer
from shared.database import Database, DatabaseAway
from shared.logging import get_logger
from shared.overdue import end_overdue
from shared.settings import Settings

_LOOK_S = 5.0
_log = get_logger(__name__)


@asynccontextmanager
async def watch_overdue(
    database: Database, announcer: Announcer, settings: Settings
) -> AsyncIterator[None]:
    """End overdue messages now and then while the context is open."""
    task = asyncio.create_task(_watch(database, announcer, settings))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _watch(database: Database, announcer: Announcer, settings: Settings) -> None:
    while True:
        await asyncio.sleep(min(_LOOK_S, settings.queue_timeout_s / 4))
        try:
            await end_overdue(database, announcer, settings)
        except (DatabaseAway, OSError) as error:
            _log.info("the database is away, looking again", error=type(error).__name__)
