"""Metrics: counters of this API process, and gauges that a scrape reads from the database."""

import asyncio
import time

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import Scope

from api.streams import Subscribers
from api.waiting import EndWaiters
from shared.channels import Channel
from shared.database import Database, DatabaseAway
from shared.metrics import DELAYS_S
from shared.store import deliveries, estimates, workers
from shared.store.accept import Accepted
from shared.tables import Message

_FRESH_S = 1.0
_REQUESTS = Counter(
    "vibecoder_http_requests", "Requests by route and status.", ["method", "route", "status"]
)
_ACCEPTED = Counter("vibecoder_messages_accepted", "Messages that became rows.")
_REPLAYED = Counter("vibecoder_messages_replayed", "POSTs whose Idempotency-Key was known.")
_REPLY_DELAY = Histogram(
    "vibecoder_reply_delay_seconds",
    "From a message's end to the answer for the client that waited for it.",
    buckets=DELAYS_S,
)
_WAITING = Gauge("vibecoder_waiting_clients", "Clients that wait for a message's end.")
_WATCHING = Gauge("vibecoder_watchers", "Clients that watch a message's events.")
_UP = Gauge("vibecoder_up", "Whether the API process reaches a part of the service.", ["part"])
_MESSAGES = Gauge("vibecoder_queue_messages", "Unfinished messages in all.", ["status"])
_HEADS = Gauge("vibecoder_queue_heads", "Queued messages that a worker could begin now.")
_OLDEST = Gauge("vibecoder_queue_oldest_seconds", "Age of the head that waits longest.")
_WORKERS = Gauge("vibecoder_workers", "Workers with a lease.")
_SLOTS = Gauge("vibecoder_worker_slots", "Runs at once that the workers have room for.")
_OVERDUE = Gauge(
    "vibecoder_webhook_overdue_seconds",
    "How long the delivery to a webhook waits that has been due for the longest time.",
)
_STATES = ("queued", "in_progress")


def count_request(scope: Scope, status: int) -> None:
    """Count an answer by the route's pattern: paths are unbounded in number."""
    route = getattr(scope.get("route"), "path", "")
    _REQUESTS.labels(scope["method"], route, status).inc()


def count_accepted(accepted: Accepted) -> None:
    """Count a message that was accepted, or found by its Idempotency-Key."""
    (_REPLAYED if accepted.replayed else _ACCEPTED).inc()


def observe_reply(message: Message, ended: "asyncio.Future[bool]") -> None:
    """Record the time from a message's end to the answer for the client that waited."""
    if ended.done() and not ended.cancelled() and ended.result():
        _REPLY_DELAY.observe(message.ended_ago_s)


class Scrape:
    """Refresh the gauges: at most one reading a second, however many clients scrape."""

    def __init__(
        self,
        database: Database,
        channel: Channel,
        end_waiters: EndWaiters,
        subscribers: Subscribers,
    ) -> None:
        self._database = database
        self._channel = channel
        self._end_waiters = end_waiters
        self._subscribers = subscribers
        self._lock = asyncio.Lock()
        self._read_at = -_FRESH_S

    async def refresh(self) -> None:
        """Read the gauges; a value that cannot be read is NaN, so that no alert takes it for 0."""
        _WAITING.set(self._end_waiters.count)
        _WATCHING.set(self._subscribers.count)
        async with self._lock:
            if time.monotonic() - self._read_at < _FRESH_S:
                return
            _UP.labels("broker").set(await self._channel.ping())
            _UP.labels("database").set(await self._read())
            self._read_at = time.monotonic()

    async def _read(self) -> bool:
        try:
            async with self._database.read() as db:
                backlog = await estimates.backlog(db)
                alive, slots = await workers.alive(db)
                overdue_s = await deliveries.overdue_s(db)
        except (DatabaseAway, OSError):
            single = (_HEADS, _OLDEST, _WORKERS, _SLOTS, _OVERDUE)
            for gauge in (*map(_MESSAGES.labels, _STATES), *single):
                gauge.set(float("nan"))
            return False
        for status, count in zip(_STATES, (backlog.queued, backlog.in_progress), strict=True):
            _MESSAGES.labels(status).set(count)
        _HEADS.set(backlog.ready)
        _OLDEST.set(backlog.oldest_s)
        _WORKERS.set(alive)
        _SLOTS.set(slots)
        _OVERDUE.set(overdue_s)
        return True
