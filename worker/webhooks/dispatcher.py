"""The dispatcher of the outbox: it delivers at least once, from whichever worker is first."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from uuid import UUID

from shared.background import every
from shared.database import Database, DatabaseAway, until_done
from shared.logging import get_logger
from shared.store import deliveries
from shared.store.deliveries import DeliveryAttempt
from shared.tables import DeliveryStatus
from worker import failpoints
from worker.metrics import count_delivery
from worker.webhooks.client import LIMIT_S, Answer, WebhookClient

_POLL_S = 1.0
_LEASE_S = 2 * LIMIT_S
_AT_ONCE = 32
_AT_ONCE_OF_ONE = 4
"""Tries of one webhook at the same time: a slow one leaves room for the others."""
_AT_ONCE_OF_FAILING = 16
"""Tries of all webhooks whose newest try failed, one of each: the rest is for the others."""
_MOST_FAILING = 1000
"""The dispatcher knows at most so many of them: their ids go into a query."""

_FIRST_DELAY_S = 5.0
_LONGEST_DELAY_S = 4 * 3600.0
_MOST_TRIES = 14  # in about a day
_log = get_logger(__name__)


class WebhookDispatcher:
    """Make due deliveries on one event loop, a bounded number at once."""

    def __init__(self, database: Database, *, private: bool) -> None:
        self._database = database
        self._client = WebhookClient(private=private, at_once=_AT_ONCE)
        self._running: dict[asyncio.Task[None], UUID] = {}
        self._failing: set[UUID] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look for deliveries at once: something was written into the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; another worker repeats a try that this breaks off."""
        try:
            await every(_POLL_S, self._start_due, "deliveries", woken=self._woken)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            await self._client.aclose()

    async def _start_due(self) -> None:
        """Start a try of each due delivery for which there is room."""
        while ids := await self._choose():
            taken = await self._database.write(deliveries.take, ids, lease_s=_LEASE_S)
            for delivery in taken:
                task = asyncio.get_running_loop().create_task(self._deliver(delivery))
                self._running[task] = delivery.webhook_id
                task.add_done_callback(self._ended)
            if not taken:  # other workers were faster
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._woken.set()  # there is room again

    async def _choose(self) -> Sequence[UUID]:
        """List the deliveries to try next: one of each failing webhook first, then the others."""
        room = _AT_ONCE - len(self._running)
        if room <= 0:
            return ()
        running = Counter(self._running.values())
        of_failing = running.keys() & self._failing
        async with self._database.read() as db:
            again = await deliveries.due(
                db,
                of=self._failing - of_failing,
                at_once=1,
                limit=min(room, _AT_ONCE_OF_FAILING - len(of_failing)),
            )
            others = await deliveries.due(
                db,
                but_of=self._failing,
                at_once=_AT_ONCE_OF_ONE,
                running=running,
                limit=room - len(again),
            )
        return [*again, *others]

    def _note(self, webhook: UUID, *, failed: bool) -> None:
        self._failing.discard(webhook)
        if failed and len(self._failing) < _MOST_FAILING:
            self._failing.add(webhook)

    async def _deliver(self, delivery: DeliveryAttempt) -> None:
        try:
            answer = await self._client.post(delivery)
        except Exception:  # noqa: BLE001 -- a defect is a failed try as well
            _log.exception("delivery failed", delivery_id=str(delivery.id))
            answer = Answer(error="internal")
        self._note(delivery.webhook_id, failed=not answer.is_success)
        failpoints.hit("after_delivery")
        status = next_status(delivery, answer)
        try:
            await until_done(partial(self._record, delivery, answer, status), limit_s=_LEASE_S)
        except (DatabaseAway, OSError) as error:
            _log.info("a delivery is not recorded and comes again", error=type(error).__name__)
        count_delivery("failed" if status is DeliveryStatus.PENDING else status)
        if status is DeliveryStatus.GIVEN_UP:
            _log.info(
                "delivery given up",
                delivery_id=str(delivery.id),
                webhook_id=str(delivery.webhook_id),
                message_id=str(delivery.message.id),
                http_status=answer.http_status,
                error=answer.error,
            )

    async def _record(
        self, delivery: DeliveryAttempt, answer: Answer, status: DeliveryStatus
    ) -> None:
        await self._database.write(
            deliveries.record,
            delivery,
            status,
            http_status=answer.http_status,
            error=answer.error,
            again_in_s=delay_s(delivery.tries),
        )


def next_status(delivery: DeliveryAttempt, answer: Answer) -> DeliveryStatus:
    """Return the status after a try; 410 says that the receiver wants no more of it."""
    if answer.is_success:
        return DeliveryStatus.DELIVERED
    if answer.http_status == HTTPStatus.GONE or delivery.tries >= _MOST_TRIES:
        return DeliveryStatus.GIVEN_UP
    return DeliveryStatus.PENDING


def delay_s(tries: int) -> float:
    """Choose when to try again: 5 s after the first, three times as long each time, up to 4 h."""
    delay: float = min(_FIRST_DELAY_S * 3 ** (tries - 1), _LONGEST_DELAY_S)
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 -- spreads load, keeps no secret
