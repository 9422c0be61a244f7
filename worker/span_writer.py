"""The one who stores the spans of runs that last, so that those of a killed worker are there."""

import asyncio
import time

from shared.database import Database, DatabaseAway, retried
from shared.logging import get_logger
from shared.store import traces
from shared.store.transitions import Claim
from shared.tables import AttemptOutcome
from shared.telemetry import Telemetry
from worker.run_telemetry import spans_of_run
from worker.tracing import RunSpans

_EVERY_S = 1.0
_AT_ONCE = 50
_log = get_logger(__name__)


class SpanWriter:
    """Store what this process's runs do, for all of them together, once a second.

    A run that is shorter is stored by what ends it.
    """

    def __init__(self, database: Database, telemetry: Telemetry | None = None) -> None:
        self._database = database
        self._telemetry = telemetry
        self._runs: dict[RunSpans, int] = {}

    def begin(self, claim: Claim) -> RunSpans:
        """Take in an attempt."""
        run = RunSpans(claim)
        self._runs[run] = 0
        return run

    def end(self, run: RunSpans, outcome: AttemptOutcome | None) -> None:
        """Store no more of it: its end did. Without an outcome its message goes on elsewhere."""
        self._runs.pop(run, None)
        if self._telemetry:
            for span in spans_of_run(run, outcome):
                self._telemetry.export(span)

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self._store_all()
            except (DatabaseAway, OSError) as error:
                _log.info("the database is away, spans are late", error=type(error).__name__)

    async def _store_all(self) -> None:
        old = time.time() - _EVERY_S
        news = [
            (run, run.changes)
            for run, stored in self._runs.items()
            if run.changes > stored and run.begun_at < old
        ]
        for first in range(0, len(news), _AT_ONCE):
            some = news[first : first + _AT_ONCE]
            await self._store([run for run, _ in some])
            self._runs |= {run: changes for run, changes in some if run in self._runs}

    @retried
    async def _store(self, runs: list[RunSpans]) -> None:
        async with self._database.begin() as db:
            await traces.keep(db, [run.so_far() for run in runs])
