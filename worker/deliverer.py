"""Who tells webhooks what the outbox holds: at least once, by whichever worker is first."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from uuid import UUID

from shared.database import Database, DatabaseAway, retried, until_done
from shared.logging import get_logger
from shared.store import deliveries
from shared.store.deliveries import Try
from shared.tables import DeliveryStatus
from worker import faults
from worker.messenger import LIMIT_S, Answer, Messenger
from worker.metrics import count_delivery

_POLL_S = 1.0
_LEASE_S = 2 * LIMIT_S
_AT_ONCE = 32
_AT_ONCE_OF_ONE = 4
"""Tries of one webhook at the same time: one that is slow leaves room for the others."""
_AT_ONCE_OF_FAILING = 16
"""Tries of all webhooks whose newest one failed, one at a time of each: the rest is for others."""
_MOST_FAILING = 1000
"""So many of them are known at the most: their ids go into a query."""

_LOOKED_AT = 200
_FIRST_DELAY_S = 5.0
_LONGEST_DELAY_S = 4 * 3600.0
_MOST_TRIES = 14  # in about a day
_log = get_logger(__name__)


class Deliverer:
    """Deliver on one event loop what is due, a bounded number at once."""

    def __init__(self, database: Database, *, private: bool) -> None:
        self._database = database
        self._messenger = Messenger(private=private, at_once=_AT_ONCE)
        self._under_way: dict[asyncio.Task[None], UUID] = {}
        self._failing: set[UUID] = set()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Say that something was written into the outbox; what nobody says is found by looking."""
        self._news.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is tried again when its lease ends."""
        try:
            while True:
                self._news.clear()
                await self._begin_or_tell()
                with suppress(
                    TimeoutError
                ):  # not wait_for: before Python 3.12 it may lose a cancel
                    async with asyncio.timeout(_POLL_S):
                        await self._news.wait()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._messenger.aclose()

    async def _begin_or_tell(self) -> None:
        try:
            await self._begin()
        except (DatabaseAway, OSError) as error:
            _log.info("deliveries: the database is away", error=type(error).__name__)
        except Exception:  # noqa: BLE001 -- one that died would be missed too late
            _log.exception("deliveries failed, trying on")

    async def _begin(self) -> None:
        """Begin all that is due and that there is room for."""
        while ids := await self._choose():
            taken = await self._take(ids)
            for tried in taken:
                task = asyncio.get_running_loop().create_task(self._deliver(tried))
                self._under_way[task] = tried.webhook_id
                task.add_done_callback(self._ended)
            if not taken:  # other workers were faster
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._news.set()  # there is room again

    async def _choose(self) -> list[UUID]:
        room = _AT_ONCE - len(self._under_way)
        if room <= 0:
            return []
        busy = Counter(self._under_way.values())
        full = [it for it in busy.keys() | self._failing if not self._may_have_more(it, busy)]
        async with self._database.read() as db:
            found = await deliveries.due(db, but_of=full, limit=_LOOKED_AT)
        chosen: list[UUID] = []
        for each in found:
            if self._may_have_more(each.webhook_id, busy) and len(chosen) < room:
                busy[each.webhook_id] += 1
                chosen.append(each.id)
        return chosen

    def _may_have_more(self, webhook: UUID, busy: Counter[UUID]) -> bool:
        if webhook not in self._failing:
            return busy[webhook] < _AT_ONCE_OF_ONE
        of_failing = sum(count for it, count in busy.items() if it in self._failing)
        return busy[webhook] == 0 and of_failing < _AT_ONCE_OF_FAILING

    def _learn(self, webhook: UUID, *, failed: bool) -> None:
        self._failing.discard(webhook)
        if failed and len(self._failing) < _MOST_FAILING:
            self._failing.add(webhook)

    @retried
    async def _take(self, ids: Sequence[UUID]) -> list[Try]:
        async with self._database.begin() as db:
            return await deliveries.take(db, ids, lease_s=_LEASE_S)

    async def _deliver(self, tried: Try) -> None:
        try:
            answer = await self._messenger.tell(tried)
        except Exception:  # noqa: BLE001 -- a defect is a failed try as well
            _log.exception("delivery failed", delivery_id=str(tried.id))
            answer = Answer(error="internal")
        self._learn(tried.webhook_id, failed=not answer.is_success)
        faults.reach("after_delivery")
        status = fate(tried, answer)
        try:
            await until_done(partial(self._record, tried, answer, status), limit_s=_LEASE_S)
        except (DatabaseAway, OSError) as error:
            _log.info("a delivery is not recorded and comes again", error=type(error).__name__)
        count_delivery("failed" if status is DeliveryStatus.PENDING else status)
        if status is DeliveryStatus.GIVEN_UP:
            _log.info(
                "delivery given up",
                delivery_id=str(tried.id),
                webhook_id=str(tried.webhook_id),
                message_id=str(tried.message.id),
                http_status=answer.http_status,
                error=answer.error,
            )

    @retried
    async def _record(self, tried: Try, answer: Answer, status: DeliveryStatus) -> None:
        async with self._database.begin() as db:
            await deliveries.record(
                db,
                tried,
                status,
                http_status=answer.http_status,
                error=answer.error,
                again_in_s=delay_s(tried.tries),
            )


def fate(tried: Try, answer: Answer) -> DeliveryStatus:
    """Decide what becomes of a delivery; 410 says that the receiver wants no more of it."""
    if answer.is_success:
        return DeliveryStatus.DELIVERED
    if answer.http_status == HTTPStatus.GONE or tried.tries >= _MOST_TRIES:
        return DeliveryStatus.GIVEN_UP
    return DeliveryStatus.PENDING


def delay_s(tries: int) -> float:
    """Choose when to try again: 5 s after the first, three times as long each time, up to 4 h."""
    delay: float = min(_FIRST_DELAY_S * 3 ** (tries - 1), _LONGEST_DELAY_S)
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 -- spreads load, keeps no secret
