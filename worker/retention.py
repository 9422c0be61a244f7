"""Deletes what nobody used for so long that the operator does not want to keep it."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from shared.database import Database, DatabaseAway, retried
from shared.logging import get_logger
from shared.store import dispatch, retention
from shared.store.retention import Deleted

_EVERY_S = 3600.0
_SESSIONS_AT_ONCE = 20
_DAY_S = 86_400
_log = get_logger(__name__)


class Retention:
    """Look for old sessions once an hour; apart from the sweep, which must not wait for it."""

    def __init__(self, database: Database, *, days: float, namespace: str) -> None:
        self._database = database
        self._days = days
        # a lock of its own: lost hints are looked for meanwhile
        self._leadership = f"{namespace} retention"

    async def run(self) -> None:
        """Delete, at once and then once an hour, until cancelled."""
        while True:
            try:
                await self.delete_old()
            except (DatabaseAway, OSError) as error:
                _log.info("retention: the database is away", error=type(error).__name__)
            except Exception:  # noqa: BLE001 -- one that died would be missed too late
                _log.exception("retention failed, trying on")
            await asyncio.sleep(_EVERY_S)

    async def delete_old(self) -> None:
        """Delete all sessions that are old, a few in each transaction, and say how many."""
        total, last = Deleted(), None
        try:
            while ids := await self._find(after=last):
                total += await self._delete(ids)
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

    @retried
    async def _delete(self, ids: Sequence[UUID]) -> Deleted:
        async with self._database.begin() as db:
            if not await dispatch.lead(db, self._leadership):
                return Deleted()
            return await retention.delete_sessions(db, ids, unused_s=self._days * _DAY_S)
