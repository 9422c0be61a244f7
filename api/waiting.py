"""Waiting for messages to end: one subscription for all waiting clients of this process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

from starlette.types import Receive

from api.streams import Subscribers
from shared.background import cancel_all, every
from shared.channels import Channel, Topic

_ASK_S = 2.0

EndedAmong = Callable[[Sequence[UUID]], Awaitable[Sequence[UUID]]]
"""Asks the database which of the messages have ended."""


class EndWaiters:
    """Futures of messages that clients wait for, resolved by the channel or the database.

    The news of the channel also wakes the subscribers of events: one subscription serves both.
    """

    def __init__(self, channel: Channel, ended_among: EndedAmong, subscribers: Subscribers) -> None:
        self._channel = channel
        self._ended_among = ended_among
        self._subscribers = subscribers
        self._waiting: dict[UUID, set[asyncio.Future[bool]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._reconnected = asyncio.Event()
        self._aborted = False

    @property
    def count(self) -> int:
        """Count the clients that wait."""
        return sum(len(waiting) for waiting in self._waiting.values())

    def start(self) -> None:
        """Listen to the channel, and ask the database for the ends that the channel lost."""
        self._loop = asyncio.get_running_loop()
        asking = every(_ASK_S, self._ask, "waiting clients", woken=self._reconnected)
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(asking)]

    async def close(self) -> None:
        """Answer all waiting clients and stop listening."""
        self.abort()
        await cancel_all(self._tasks)

    @contextmanager
    def register(self, message_id: UUID) -> Iterator["asyncio.Future[bool]"]:
        """Register for a message's end, before the message is enqueued: or the end may be missed.

        The future gives True when the message ended, False when waiting became pointless.
        """
        future = asyncio.get_running_loop().create_future()
        if self._aborted:
            future.set_result(False)
        waiting = self._waiting.setdefault(message_id, set())
        waiting.add(future)
        try:
            yield future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(message_id) is waiting:
                del self._waiting[message_id]

    def abort(self) -> None:
        """Resolve all futures, and all that follow, with False: this process waits no longer."""
        self._aborted = True
        self._subscribers.abort()
        for message_id in list(self._waiting):
            self._resolve(message_id, ended=False)

    def abort_from_signal(self) -> None:
        """Abort on the loop's next turn; a signal handler may call it."""
        self._loop.call_soon_threadsafe(self.abort)

    async def _listen(self) -> None:
        async for topic, ids in self._channel.listen(Topic.ENDED, Topic.EVENTS):
            if not ids:  # just (re)connected: ids published before are lost
                self._reconnected.set()
            self._subscribers.wake(ids)
            for message_id in ids if topic is Topic.ENDED else ():
                self._resolve(message_id, ended=True)

    async def _ask(self) -> None:
        await self._subscribers.ask()
        ended = await self._ended_among(list(self._waiting)) if self._waiting else ()
        for message_id in ended:
            self._resolve(message_id, ended=True)

    def _resolve(self, message_id: UUID, *, ended: bool) -> None:
        for future in self._waiting.pop(message_id, ()):
            if not future.done():
                future.set_result(ended)


async def wait_for_end(
    ended: "asyncio.Future[bool]",
    *,
    seconds: float,
    receive: Receive,
    enqueued: "asyncio.Future[bool] | None" = None,
) -> None:
    """Wait until the message ended, waiting became pointless, or the time is over.

    Waiting becomes pointless when the enqueueing failed or the client disconnected.
    """
    if enqueued is not None:
        enqueued.add_done_callback(lambda sent: None if _was_sent(sent) else _stop_waiting(ended))
    gone = asyncio.ensure_future(_gone(receive))
    gone.add_done_callback(lambda _: _stop_waiting(ended))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended
    gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _was_sent(enqueued: "asyncio.Future[bool]") -> bool:
    return not enqueued.cancelled() and enqueued.exception() is None and enqueued.result()


def _stop_waiting(ended: "asyncio.Future[bool]") -> None:
    if not ended.done():
        ended.set_result(False)
