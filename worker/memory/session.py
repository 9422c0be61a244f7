"""Conversation memory: an Agents SDK SQLiteSession file a session, healed from the database.

What the model sees is read from the file. What the run adds is kept back until commit 3 has
stored it in the database; then `sync` brings the file up to date. A file that is missing, behind,
ahead, different or unreadable is mended the next time it is opened, so workers share no disk.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

from agents import SQLiteSession, TResponseInputItem
from agents.memory import SessionSettings

from shared.database import Database, DatabaseAway, until_done
from shared.logging import get_logger
from shared.store import sessions
from shared.store.transitions import Claim, LeaseLost
from worker.memory.cache import OpenFiles
from worker.memory.file_handle import Contents

T = TypeVar("T")
_log = get_logger(__name__)

_UNUSABLE = (sqlite3.Error, OSError)
"""What a file raises that cannot be locked, read or written (a TimeoutError is an OSError)."""

_LOCKED_AGAIN_S = 0.001  # at first: the message before may just be appending
_SYNC_LIMIT_S = 10.0


class SessionMemory:
    """One conversation's memory during one attempt, as the Agents SDK's `Session` protocol.

    `added` are the items of this run, which no file has yet.
    """

    session_settings: SessionSettings | None = None

    def __init__(
        self,
        database: Database,
        open_files: OpenFiles,
        claim: Claim,
        threads: ThreadPoolExecutor,
        *,
        lock_timeout_s: float,
    ) -> None:
        self.session_id = claim.openai_session_key
        self.added: list[TResponseInputItem] = []
        self._database = database
        self._claim = claim
        self._threads = threads
        self._lock_timeout_s = lock_timeout_s
        self._open_files = open_files
        self._file = open_files.take(claim)
        self._has_file = True
        self._ram: SQLiteSession | None = None
        self._handed_out = False
        # only the end of this attempt, or of one that fences it off, changes what was claimed
        self._known = Contents(claim.item_count, claim.last_message_id)

    async def open(self) -> None:
        """Bring the file up to date; without a usable file work on a copy in RAM."""
        self._take_file()
        if self._known.count == 0:
            with suppress(*_UNUSABLE):  # it is not read, and the end says so
                await self._when_free(self._file.begin)
            return
        if self._file.still_holds(self._known):
            return
        try:
            if not await self._when_free(partial(self._file.holds, self._known)):
                await self._heal()
        except _UNUSABLE as error:
            await self._use_ram(error)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the newest `limit` items (all of them when None), oldest first."""
        if self._handed_out:
            return self.added[:] if limit is None else self.added[-limit:]
        if not self._has_file and self._ram is None:
            await self.open()
        items = await self._read(limit) + self.added
        self._leave_file()  # the model may take long, and what is open takes memory
        return items if limit is None else items[-limit:]

    async def hand_out(self) -> list[TResponseInputItem]:
        """Return all items for the caller to send; the SDK gets the run's own from then on."""
        items = await self.get_items()
        self._handed_out = True
        return items

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Keep the items for commit 3; the SDK writes the prompt before the first model call."""
        self.added.extend(items)

    async def pop_item(self) -> TResponseInputItem | None:
        """Take back the newest item of this run; what is committed is not the run's to remove."""
        return self.added.pop() if self.added else None

    async def clear_session(self) -> None:
        """Take back all items of this run."""
        self.added.clear()

    async def sync_committed(self) -> None:
        """Bring the file up to date after commit 3; what cannot be written now heals later."""
        self._take_file()
        try:
            async with asyncio.timeout(_SYNC_LIMIT_S):
                if not await self._append():
                    await self._heal()
        except LeaseLost:
            pass  # cleared meanwhile: the file must not come back
        except (*_UNUSABLE, DatabaseAway) as error:
            _log.warning("memory file not written, it heals when it can", error=repr(error))

    async def _append(self) -> bool:
        append = partial(self._file.append, self._known, self.added, self._claim.message_id)
        try:
            return await self._when_free(append)
        except sqlite3.Error:
            return False

    def close(self) -> None:
        """Leave the file to the next attempt."""
        self._leave_file()
        if self._ram is not None:
            self._ram.close()

    def _take_file(self) -> None:
        if not self._has_file:
            self._file, self._has_file = self._open_files.take(self._claim), True

    def _leave_file(self) -> None:
        """Let others have the file, open."""
        if self._has_file:
            self._has_file = False
            self._open_files.give_back(self._file)

    async def _read(self, limit: int | None) -> list[TResponseInputItem]:
        if self._known.count == 0:
            return []  # whatever the file holds
        if self._ram is None:
            try:
                return await self._read_file(limit)
            except _UNUSABLE as error:
                _log.info("memory file is unreadable, rebuilding it", error=repr(error))
            try:
                await self._sync(anew=True)
                return await self._read_file(limit)
            except _UNUSABLE as error:
                await self._use_ram(error)
        assert self._ram is not None
        return await self._ram.get_items(limit)

    async def _read_file(self, limit: int | None) -> list[TResponseInputItem]:
        items = await _whole(self._file.session.get_items(limit))
        expected = self._known.count if limit is None else min(limit, self._known.count)
        if len(items) != expected:
            raise sqlite3.DatabaseError("items are missing")  # the SDK skips broken ones
        return items

    async def _heal(self) -> None:
        try:
            await self._sync()
        except sqlite3.Error:  # what is broken deep inside shows when something is appended
            await self._sync(anew=True)

    async def _sync(self, *, anew: bool = False) -> None:
        """Make the file equal to the database, under its lock.

        Raises:
            LeaseLost: the session was cleared since the claim.
            OSError, sqlite3.Error: the file cannot be locked or written.
        """
        try:
            look = self._file.lock if anew else self._file.lock_and_look
            contents = await self._when_free(look)
            known, start, items = await self._ask(contents)
            if known != contents:
                write = partial(self._file.write, items, known.applied, anew=start == 0)
                await self._in_thread(write)
            self._known = known
        finally:
            self._file.unlock()

    async def _when_free(self, call: Callable[[], T]) -> T:
        return await when_free(call, self._in_thread, timeout_s=self._lock_timeout_s)

    async def _ask(
        self, contents: Contents | None
    ) -> tuple[Contents, int, list[TResponseInputItem]]:
        return await until_done(lambda: _whole(self._missing(contents)))

    async def _missing(
        self, contents: Contents | None
    ) -> tuple[Contents, int, list[TResponseInputItem]]:
        """Read, in one snapshot, what the file must hold and from which item on it does not."""
        claim = self._claim
        async with self._database.snapshot() as db:
            counters = await sessions.memory(db, claim.session_id)
            if counters is None or counters.generation != claim.generation:
                raise LeaseLost
            known = Contents(counters.item_count, counters.last_message_id)
            if contents == known:
                return known, known.count, []
            start = 0
            if contents and 0 < contents.count < known.count:
                before, after = await sessions.writers_around(
                    db, claim.session_id, generation=claim.generation, position=contents.count
                )
                # a true prefix ends where a message's items end, and with the file's last message
                if before == contents.applied and before != after:
                    start = contents.count
            rows = await sessions.items(
                db, claim.session_id, generation=claim.generation, start=start
            )
        return known, start, [cast(TResponseInputItem, row.item) for row in rows]

    async def _use_ram(self, error: Exception) -> None:
        _log.warning("memory file cannot be used, working in RAM", error=repr(error))
        _, _, items = await self._ask(None)
        self._ram = SQLiteSession(self.session_id)
        await self._ram.add_items(items)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await _whole(asyncio.get_running_loop().run_in_executor(self._threads, call))


async def when_free(
    call: Callable[[], T],
    in_thread: Callable[[Callable[[], T]], Awaitable[T]],
    *,
    timeout_s: float,
) -> T:
    """Call what locks a file; wait for the lock here, not in a thread: there are few."""
    delay = _LOCKED_AGAIN_S
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(TimeoutError):
                return await in_thread(call)
            await asyncio.sleep(delay)
            delay = min(2 * delay, 0.02)


async def _whole(work: Awaitable[T]) -> T:
    """Await work that must not be left half done; a cancellation waits for its end too.

    A thread would go on without the file's lock, a connection would be lost to its pool.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
