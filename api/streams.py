"""Streams of a message's events: subscribers are woken, and share one reading of the database."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from api.problems import problem_members
from api.schemas.messages import MessageOut
from shared.database import Database
from shared.errors import MessageFailed
from shared.store import estimates, events, messages
from shared.store.events import EventRecord, Page
from shared.tables import EventKind, Message

_PAGE = 200

EventCounts = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, int]]]
"""Asks the database how many events the messages have."""


@dataclass(frozen=True)
class Part:
    """A part of a message's stream, encoded; `last` is the number of its last event."""

    content: bytes
    last: int
    ended: bool
    more: bool


Read = Callable[[UUID, int], asyncio.Future[Part]]
"""Reads and encodes the events that follow an event of a message."""


@dataclass
class _WatchedMessage:
    """A message with subscribers in this process, and the newest part that was read of it."""

    subscribers: set["Subscriber"] = field(default_factory=set)
    version: int = 0
    newest: tuple[int, int, "asyncio.Future[Part]"] | None = None

    def wake(self, count: float = math.inf) -> None:
        """Wake the subscribers that have read fewer events than `count`."""
        self.version += 1
        for subscriber in self.subscribers:
            if subscriber.at < count:
                subscriber.woken.set()


class Subscriber:
    """One client's place in the stream of a message."""

    def __init__(self, message_id: UUID, watched: _WatchedMessage, read: Read) -> None:
        self.at = 0
        self.woken = asyncio.Event()
        self._message_id = message_id
        self._watched = watched
        self._read = read

    async def read(self, after: int) -> Part:
        """Read the next part; clients at the same place share one reading."""
        self.woken.clear()  # before the reading: news that come during it wake again
        watched = self._watched
        here = (after, watched.version)
        if watched.newest is None or watched.newest[:2] != here:
            watched.newest = (*here, self._read(self._message_id, after))
        reading = watched.newest[2]
        try:
            # a client that leaves must not cancel the reading of others, nor lose a connection
            part = await asyncio.shield(reading)
        except Exception:
            if watched.newest[2] is reading:
                watched.newest = None  # the next reading tries again
            raise
        self.at = part.last
        return part

    async def news(self, *, within_s: float) -> bool:
        """Wait until there may be news; return False if none came within the time."""
        try:
            async with asyncio.timeout(within_s):
                await self.woken.wait()
        except TimeoutError:
            return False
        return True


class Subscribers:
    """All clients that watch a message at this process."""

    def __init__(self, read: Read, event_counts: EventCounts) -> None:
        self._read = read
        self._event_counts = event_counts
        self._watched: dict[UUID, _WatchedMessage] = {}
        self.aborted = False

    @asynccontextmanager
    async def subscribe(self, message_id: UUID) -> AsyncIterator[Subscriber]:
        """Subscribe to the news of a message, until the block ends."""
        watched = self._watched.setdefault(message_id, _WatchedMessage())
        subscriber = Subscriber(message_id, watched, self._read)
        watched.subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            watched.subscribers.discard(subscriber)
            if not watched.subscribers and self._watched.get(message_id) is watched:
                del self._watched[message_id]

    def wake(self, message_ids: Iterable[UUID]) -> None:
        """Wake the subscribers of the messages."""
        for message_id in message_ids:
            if watched := self._watched.get(message_id):
                watched.wake()

    async def ask(self) -> None:
        """Ask the database for lost news, by one query for all watched messages."""
        if not self._watched:
            return
        counts = await self._event_counts(list(self._watched))
        for message_id, watched in self._watched.items():
            watched.wake(counts.get(message_id, math.inf))

    @property
    def count(self) -> int:
        """Count the clients that watch."""
        return sum(len(watched.subscribers) for watched in self._watched.values())

    def abort(self) -> None:
        """End every stream of this process: clients continue at another one."""
        self.aborted = True
        self.wake(list(self._watched))


_Place = tuple[UUID, int]
"""A message, and the number of the last event that its reader has."""


class EventReader:
    """Read pages of events: all calls in the same turn of the loop share one statement.

    A worker publishes the news of all its runs at once, so many streams wake together.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: dict[_Place, asyncio.Future[Part]] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def read(self, message_id: UUID, after: int) -> "asyncio.Future[Part]":
        """Read and encode the events that follow one; the future raises the database's errors."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            reading = loop.create_task(self._read_all())
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        return self._asked.setdefault((message_id, after), loop.create_future())

    async def _read_all(self) -> None:
        asked, self._asked = self._asked, {}
        try:
            async with self._database.read() as db:
                pages = await events.pages(db, asked, limit=_PAGE)
                parts = [await _part(db, *at) for at in zip(asked, pages, strict=True)]
        except Exception as error:  # noqa: BLE001 -- the callers handle it
            for future in asked.values():
                future.set_exception(error)
            return
        for future, part in zip(asked.values(), parts, strict=True):
            future.set_result(part)


async def _part(db: AsyncSession, place: _Place, page: Page) -> Part:
    message_id, after = place
    message = await messages.reread(db, message_id) if page.ended and page.events else None
    frames = []
    for record in page.events:
        data: dict[str, Any] = {"message_id": str(message_id), "at": _time(record.created_at)}
        match record.kind:
            case EventKind.QUEUED:
                data |= record.data | _estimate(page.state)
            case EventKind.COMPLETED | EventKind.FAILED | EventKind.CANCELLED if message:
                data |= {"attempt": record.attempt} | _end(message)
            case _:
                data |= {"attempt": record.attempt} | record.data
        frames.append(_frame(record, data))
    last = page.events[-1].seq if page.events else after
    return Part(b"".join(frames), last, ended=page.ended, more=page.more)


def _estimate(state: Any) -> dict[str, Any]:
    """Return the estimate that the event `queued` carries."""
    estimate = estimates.estimate_of(state)
    return {"position": estimate.position, "starts_in_s": estimate.starts_in_s}


def _end(message: Message) -> dict[str, Any]:
    """Return the message, and the problem with which a waiting POST would be answered."""
    shown: dict[str, Any] = {"message": MessageOut.of(message).model_dump(mode="json")}
    if message.error is not None:
        error = MessageFailed(message.error, message_id=message.id)
        path = f"/messages/{message.id}"
        shown["problem"] = problem_members(error, path=path, trace_id=message.trace_id)
    return shown


def _frame(record: EventRecord, data: dict[str, Any]) -> bytes:
    # escaped ASCII: one line, and half a surrogate pair passes too
    return f"id: {record.seq}\nevent: {record.kind}\ndata: {json.dumps(data)}\n\n".encode()


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
