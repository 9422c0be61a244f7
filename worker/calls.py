"""What running attempts have asked of the model, stored while they run: a worker may be killed.

An attempt's end stores all of its calls again, which changes nothing. A run that ends within a
second or two costs no statement here.
"""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy.exc import StatementError

from shared.database import Database, DatabaseAway, retried
from shared.logging import get_logger
from shared.store import records
from shared.store.types import Call, Claim

_EVERY_S = 1.0
_log = get_logger(__name__)


class RunCalls:
    """The calls of one attempt under way; `calls` grows at its end only."""

    def __init__(self, claim: Claim, calls: Sequence[Call]) -> None:
        self.claim = claim
        self.calls = calls
        self.stored = 0

    def unstored(self, *, before: float) -> Sequence[Call]:
        """Return what ended before a moment and is not known to be stored."""
        waiting = self.calls[self.stored :]
        return [call for call in waiting if call.ended_at < before]


class CallWriter:
    """Store the calls of this process's runs, for all of them together, once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs: set[RunCalls] = set()

    def begin(self, claim: Claim, calls: Sequence[Call]) -> RunCalls:
        """Take in the calls that an attempt makes from now on."""
        run = RunCalls(claim, calls)
        self._runs.add(run)
        return run

    def end(self, run: RunCalls) -> None:
        """Take in no more: the attempt's end has stored them all."""
        self._runs.discard(run)

    async def run(self) -> None:
        """Store once a second, if there is something, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.store()

    async def store(self) -> None:
        """Store what is a second old; what ends soon after stores it itself."""
        before = time.time() - _EVERY_S
        found = [(run, calls) for run in self._runs if (calls := run.unstored(before=before))]
        if not found:
            return
        try:
            await self._record([(run.claim, calls) for run, calls in found])
        except StatementError as error:
            # one of them, which must not keep others waiting: all are left to their attempts' ends
            _log.info("calls of the model cannot be stored", error=type(error).__name__)
        except (DatabaseAway, OSError):
            return
        for run, calls in found:
            run.stored += len(calls)

    @retried
    async def _record(self, made: Sequence[tuple[Claim, Sequence[Call]]]) -> None:
        async with self._database.begin() as db:
            await records.record_calls(db, *made)
