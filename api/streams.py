"""Who watches which message: woken when there is news, and reading it once for all of them."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

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
"""Reads and encodes what follows an event of a message."""


@dataclass
class _Watched:
    """A message that somebody here watches; only the newest part that was read is kept."""

    watchers: set["Watcher"] = field(default_factory=set)
    version: int = 0
    newest: tuple[int, int, "asyncio.Future[Part]"] | None = None

    def wake(self, count: float = math.inf) -> None:
        """Let those read on who have not read so many events, or all."""
        self.version += 1
        for watcher in self.watchers:
            if watcher.at < count:
                watcher.woken.set()


class Watcher:
    """One client's place in the stream of a message."""

    def __init__(self, message_id: UUID, watched: _Watched, read: Read) -> None:
        self.at = 0
        self.woken = asyncio.Event()
        self._message_id = message_id
        self._watched = watched
        self._read = read

    async def read(self, after: int) -> Part:
        """Read on; clients that are at the same place share one reading."""
        self.woken.clear()  # before the reading: what comes during it wakes again
        watched = self._watched
        here = (after, watched.version)
        if watched.newest is None or watched.newest[:2] != here:
            watched.newest = (*here, self._read(self._message_id, after))
        reading = watched.newest[2]
        try:
            # a client that leaves must not break off what others wait for, nor lose a connection
            part = await asyncio.shield(reading)
        except Exception:
            if watched.newest[2] is reading:
                watched.newest = None  # not to be told again
            raise
        self.at = part.last
        return part

    async def news(self, *, within_s: float) -> bool:
        """Wait until there may be news; False: there was none for so long."""
        try:
            async with asyncio.timeout(within_s):
                await self.woken.wait()
        except TimeoutError:
            return False
        return True


class Watchers:
    """All who watch at this process."""

    def __init__(self, read: Read, event_counts: EventCounts) -> None:
        self._read = read
        self._event_counts = event_counts
        self._watched: dict[UUID, _Watched] = {}
        self.given_up = False

    @asynccontextmanager
    async def watching(self, message_id: UUID) -> AsyncIterator[Watcher]:
        """Be woken when a message has news, from here on."""
        watched = self._watched.setdefault(message_id, _Watched())
        watcher = Watcher(message_id, watched, self._read)
        watched.watchers.add(watcher)
        try:
            yield watcher
        finally:
            watched.watchers.discard(watcher)
            if not watched.watchers and self._watched.get(message_id) is watched:
                del self._watched[message_id]

    def wake(self, message_ids: Iterable[UUID]) -> None:
        """Let those read on who watch one of the messages."""
        for message_id in message_ids:
            if watched := self._watched.get(message_id):
                watched.wake()

    async def ask(self) -> None:
        """Wake whom no channel told of news: one query for all messages that are watched."""
        if not self._watched:
            return
        counts = await self._event_counts(list(self._watched))
        for message_id, watched in self._watched.items():
            watched.wake(counts.get(message_id, math.inf))

    @property
    def count(self) -> int:
        """Count those who watch."""
        return sum(len(watched.watchers) for watched in self._watched.values())

    def give_up(self) -> None:
        """End every stream of this process: clients go on at another one."""
        self.given_up = True
        self.wake(list(self._watched))
