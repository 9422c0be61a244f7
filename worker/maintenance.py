"""Maintenance: the sweep, and the deletion of old sessions; one worker at a time does each.

The sweep sends lost tasks again, takes the messages of lost workers and ends overdue ones. It reads
the database alone, so nothing depends on a task or on a worker's goodbye.
"""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.announcer import Announcer
from shared.background import AWAY, every
from shared.database import Database
from shared.logging import get_logger
from shared.overdue import end_overdue
from shared.queue import TaskSender
from shared.settings import Settings
from shared.store import dispatch, retention, workers
from shared.store.retention import Deleted
from worker.memory.session import Memories
from worker.metrics import count_rescued, count_sweep

_TASK_LOST_S = 5.0
_BROKER_S = 1.0
_HOUSEKEEPING_S = 60.0
_DEAD_WORKER_S = 3600.0
_RETENTION_S = 3600.0
_SESSIONS_AT_ONCE = 20
_DAY_S = 86_400
_log = get_logger(__name__)


class Sweeper:
    """Sweep every `SWEEP_S` on one event loop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        sender: TaskSender,
        announcer: Announcer,
        memories: Memories,
    ) -> None:
        self._settings = settings
        self._database = database
        self._sender = sender
        self._announcer = announcer
        self._memories = memories
        self._housekeeping_at = time.monotonic()
        self._asking: asyncio.Future[int] | None = None
        self._asked_at = 0.0
        self._broker_away = False

    async def run(self) -> None:
        """Sweep until cancelled."""
        try:
            await every(self._settings.sweep_s, self._counted_sweep, "sweep")
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _counted_sweep(self) -> None:
        try:
            await self.sweep()
        except AWAY:
            count_sweep("away")
            raise
        except Exception:
            count_sweep("failed")
            raise
        count_sweep("done")

    async def sweep(self) -> None:
        """Enqueue messages whose task or worker was lost, end overdue ones, tidy up at times."""
        waiting = await self._waiting_tasks()
        if waiting is not None:
            lost = await self._lost_messages(waiting)
            count_rescued(len(lost))
            for message_id in lost:
                _ = self._sender.enqueue_message(message_id)
        await end_overdue(self._database, self._announcer, self._settings)
        if time.monotonic() > self._housekeeping_at:
            self._housekeeping_at = time.monotonic() + _HOUSEKEEPING_S
            await self._tidy_up()

    async def _waiting_tasks(self) -> int | None:
        """Ask the broker how many tasks wait in it; None while it does not answer.

        A broker that is away may answer late: overdue messages do not wait for it.
        """
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._sender.length())
            self._asked_at = time.monotonic()
        done, _ = await asyncio.wait([self._asking], timeout=_BROKER_S)
        if not done:
            return None
        asked, self._asking = self._asking, None
        error = asked.exception()
        if (error is None) is self._broker_away:
            self._broker_away = error is not None
            _log.info("sweep: the broker is " + ("away" if error else "back"))
        return None if error else asked.result()

    async def _lost_messages(self, waiting: int) -> tuple[UUID, ...]:
        settings = self._settings
        async with self._database.begin() as db:
            if not await dispatch.lead(db, settings.namespace):
                return ()
            _, slots = await workers.alive(db)
            # a backlog looks like lost tasks: never more of them than workers could soon take
            room = 2 * slots - waiting
            if room <= 0:
                return ()
            lost = await dispatch.mark_lost(
                db,
                waiting=waiting,
                enqueued_before_s=_TASK_LOST_S if waiting else settings.heartbeat_s,
                run_limit_s=settings.run_limit_s,
                limit=room,
                counted_s_ago=time.monotonic() - self._asked_at,
            )
            return lost + await dispatch.mark_waiting(
                db, project_limit=settings.project_concurrency, limit=room - len(lost)
            )

    async def _tidy_up(self) -> None:
        async with self._database.begin() as db:
            await workers.forget_dead(db, dead_for_s=_DEAD_WORKER_S)
            # what a late attempt may still record is over by then
            await dispatch.purge_projects(db, deleted_before_s=2 * self._settings.run_limit_s)
        await self._memories.remove_stale()


class Retention:
    """Delete old sessions once an hour; apart from the sweep, which must not wait for it."""

    def __init__(self, database: Database, *, days: float, namespace: str) -> None:
        self._database = database
        self._days = days
        # a lock of its own: the search for lost tasks goes on meanwhile
        self._leadership = f"{namespace} retention"

    async def run(self) -> None:
        """Delete until cancelled."""
        await every(_RETENTION_S, self.delete_old, "retention")

    async def delete_old(self) -> None:
        """Delete all sessions that are old, a few in each transaction, and say how many."""
        total, last = Deleted(), None
        try:
            while ids := await self._find(after=last):
                total += await self._database.write(self._delete, ids)
                last = ids[-1]
        finally:
            if total.sessions:
                _log.info(
                    "deleted old sessions",
                    sessions=total.sessions,
                    messages=total.messages,
                    items=total.items,
                    unused_for_days=self._days,
                    oldest_days=round(total.oldest_s / _DAY_S, 1),
                )

    async def _find(self, *, after: UUID | None) -> Sequence[UUID]:
        async with self._database.read() as db:
            return await retention.old_sessions(
                db, unused_s=self._days * _DAY_S, after=after, limit=_SESSIONS_AT_ONCE
            )

    async def _delete(self, db: AsyncSession, ids: Sequence[UUID]) -> Deleted:
        if not await dispatch.lead(db, self._leadership):
            return Deleted()
        return await retention.delete_sessions(db, ids, unused_s=self._days * _DAY_S)
