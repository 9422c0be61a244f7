"""The worker's lease: one row, renewed from a thread that no busy event loop can hold up."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from shared.dialects import sync_engine
from shared.logging import get_logger
from shared.settings import Settings
from shared.store import workers
from shared.store.workers import Process
from shared.version import VERSION
from worker.runs import RunKey, Runs, StopReason

_CATCH_UP_S = 0.2
_log = get_logger(__name__)


def this_process(settings: Settings) -> Process:
    """Describe this worker process, under an id that no other ever had."""
    return Process(
        worker_id=uuid4(),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=VERSION,
        slots=settings.worker_concurrency,
    )


class Heartbeat(threading.Thread):
    """Renew the lease, and compare what the database and this process hold to run here.

    What the database took away is stopped. What it believes to run here, in two beats in a row,
    although it does not (a claim whose acknowledgement was lost, a coroutine that died), is
    handed to `release` on the loop, unless the loop was only late in taking note of its claim.
    """

    def __init__(
        self,
        settings: Settings,
        process: Process,
        runs: Runs,
        *,
        loop: asyncio.AbstractEventLoop,
        release: Callable[[Iterable[RunKey]], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._settings = settings
        self._process = process
        self._runs = runs
        self._loop = loop
        self._release = release
        self._engine = sync_engine(settings, name="heartbeat")
        self._ended = threading.Event()
        self._strays: frozenset[RunKey] = frozenset()
        self._away = False
        self._beaten_at = time.monotonic()

    @property
    def holds_lease(self) -> bool:
        """Tell whether the lease was renewed in time, by this host's clock."""
        return time.monotonic() - self._beaten_at < self._settings.lease_s

    def register(self) -> None:
        """Insert the worker's row; nothing may be claimed before."""
        with self._engine.begin() as db:
            workers.register(db, self._process, lease_s=self._settings.lease_s)

    def run(self) -> None:
        """Beat until `retire`; a database that is away is waited for."""
        while not self._ended.wait(self._settings.heartbeat_s):
            try:
                self.beat()
            except SQLAlchemyError as error:
                if not self._away:
                    _log.warning("heartbeat: database lost, trying on", error=repr(error.__class__))
                self._away = True
            else:
                self._away = False

    def beat(self) -> None:
        """Renew once. The local set is copied first: a claim made meanwhile is not in doubt."""
        local = self._runs.keys()
        with self._engine.begin() as db:
            own = workers.beat(
                db, self._process, lease_s=self._settings.lease_s, running=len(local)
            )
        self._beaten_at = time.monotonic()
        if lost := local - own:
            self._loop.call_soon_threadsafe(self._runs.stop, lost, StopReason.LOST)
        strays = own - local
        if lasting := strays & self._strays:
            self._loop.call_soon_threadsafe(self._release_later, lasting)
        self._strays = strays

    def _release_later(self, strays: frozenset[RunKey]) -> None:
        """Release what is still unknown here once a loop that was blocked has caught up."""

        def release() -> None:
            if still := strays - self._runs.keys():
                self._release(still)

        self._loop.call_later(_CATCH_UP_S, release)

    def retire(self) -> None:
        """Stop beating and remove the row, so that nobody waits for the lease to end."""
        self._ended.set()
        self.join()
        try:
            with self._engine.begin() as db:
                workers.retire(db, self._process.worker_id)
        except SQLAlchemyError:
            _log.info("the database is away: the lease ends by itself")
        self._engine.dispose()
