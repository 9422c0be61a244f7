"""One process with everything: the data folder's lock, the schema, and a worker in a thread."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from filelock import FileLock
from filelock import Timeout as AlreadyLocked

from shared.database import Database
from shared.errors import SettingsError
from shared.schema import migrate
from shared.settings import Settings
from shared.store import dispatch, workers


@asynccontextmanager
async def embedded_worker(settings: Settings) -> AsyncIterator[None]:
    """Run a worker in this process while the context is open.

    Raises:
        SettingsError: another process uses the data folder.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.data_dir / "service.lock", blocking=False)
    try:
        lock.acquire()
    except AlreadyLocked:
        raise SettingsError(
            f"Another service uses the folder {settings.data_dir}: end it, or set "
            "VIBECODER_DATA_DIR to another folder."
        ) from None
    try:
        await asyncio.to_thread(migrate, settings)
        await _end_what_was(settings)
        # by name: the API process knows no agent unless it is asked to be a worker as well
        worker = importlib.import_module("worker.embedded").EmbeddedWorker(settings)
        await asyncio.to_thread(worker.start)
        try:
            yield
        finally:
            await asyncio.to_thread(worker.stop)
    finally:
        lock.release()


async def _end_what_was(settings: Settings) -> None:
    """End the leases of the process before and forget its tasks: worker and broker are gone."""
    database = Database(settings, name="start")
    async with database.begin() as db:
        await workers.end_all_leases(db)
        await dispatch.forget_enqueued(db)
    await database.close()
