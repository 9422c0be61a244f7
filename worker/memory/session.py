"""Conversation memory: an Agents SDK SQLiteSession file a session, healed from the database.

The history that the model sees is read from the file. The items that the run adds are buffered
until commit 3 has stored them in the database; then the file gets them. A file that is missing,
behind, ahead, different or unreadable is repaired when it is next opened, so workers share no disk.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import cast

from agents import SQLiteSession, TResponseInputItem
from agents.memory import SessionSettings

from shared.database import Database, until_done
from shared.logging import get_logger
from shared.store import sessions
from shared.store.transitions import Claim, LeaseLost
from worker.memory.file import UNUSABLE, FileState, SessionFiles

_SESSIONS_AT_ONCE = 500
_log = get_logger(__name__)


class SessionMemory:
    """One conversation's memory during one attempt, as the Agents SDK's `Session` protocol.

    `history` are the items of the messages before, `added` those of this run. The SDK gets the
    run's own items alone: the model's requests carry the history before them.
    """

    session_settings: SessionSettings | None = None

    def __init__(self, database: Database, files: SessionFiles, claim: Claim) -> None:
        self.session_id = claim.openai_session_key
        self.history: list[TResponseInputItem] = []
        self.added: list[TResponseInputItem] = []
        self._database = database
        self._files = files
        self._claim = claim
        # only the end of this attempt, or of one that fences it off, changes what was claimed
        self._claimed = FileState(claim.item_count, claim.last_message_id)

    async def open(self) -> None:
        """Bring the file up to date and read it; without a usable file read a copy in RAM.

        Raises:
            LeaseLost: the session was cleared since the claim.
        """
        if self._claimed.item_count == 0:
            return  # a file in its place is not read
        try:
            self.history = await self._read()
        except UNUSABLE as error:
            _log.warning("memory file cannot be used, working in RAM", error=repr(error))
            self.history = await self._read_ram()

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the newest `limit` items of this run (all of them when None), oldest first."""
        return self.added[:] if limit is None else self.added[-limit:]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Keep the items for commit 3; the SDK writes the prompt before the first model call."""
        self.added.extend(items)

    async def pop_item(self) -> TResponseInputItem | None:
        """Take back the newest item of this run; it cannot remove committed items."""
        return self.added.pop() if self.added else None

    async def clear_session(self) -> None:
        """Take back all items of this run."""
        self.added.clear()

    async def sync_committed(self) -> None:
        """Add the run's items to the file after commit 3; an unwritable file heals later."""
        before, claim = self._claimed, self._claim
        after = FileState(before.item_count + len(self.added), claim.message_id)
        try:
            if before.item_count == 0:
                await self._files.rebuild(claim, self.added, after)
            elif not await self._files.append(claim, before, self.added, after):
                _log.info("memory file is not as it was opened, it heals when next opened")
        except UNUSABLE as error:
            _log.warning("memory file not written, it heals when it can", error=repr(error))

    async def _read(self) -> list[TResponseInputItem]:
        found = await self._files.read(self._claim)
        if found is None or found[0] != self._claimed:
            await self._heal(found[0] if found else None)
            found = await self._files.read(self._claim)
        if found is None or found[0] != self._claimed:
            raise sqlite3.DatabaseError("the file does not keep the items that are written to it")
        return found[1]

    async def _heal(self, state: FileState | None) -> None:
        """Append the items that the file lacks, or rebuild it."""
        start, items = await until_done(lambda: self._missing(state))
        if state and start:
            with suppress(sqlite3.Error):  # it is broken deep inside
                if await self._files.append(self._claim, state, items, self._claimed):
                    return
            _, items = await until_done(lambda: self._missing(None))
        await self._files.rebuild(self._claim, items, self._claimed)

    async def _missing(self, state: FileState | None) -> tuple[int, list[TResponseInputItem]]:
        """Read, in one snapshot, from which item on the file is incomplete, and the items there."""
        session_id, generation = self._claim.session_id, self._claim.generation
        async with self._database.snapshot() as db:
            counters = await sessions.memory(db, session_id)
            if counters is None or counters.generation != generation:
                raise LeaseLost
            start = 0
            if state and 0 < state.item_count < self._claimed.item_count:
                before, after = await sessions.writers_around(
                    db, session_id, generation=generation, position=state.item_count
                )
                # a true prefix ends where a message's items end, and with the file's last message
                if before == state.last_message_id and before != after:
                    start = state.item_count
            rows = await sessions.items(db, session_id, generation=generation, start=start)
        return start, [cast(TResponseInputItem, row.item) for row in rows]

    async def _read_ram(self) -> list[TResponseInputItem]:
        _, items = await until_done(lambda: self._missing(None))
        ram = SQLiteSession(self.session_id)
        try:
            await ram.add_items(items)
            return await ram.get_items()
        finally:
            ram.close()


class Memories:
    """The memories of the conversations that a worker process answers."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self.files = SessionFiles(root)

    async def open(self, claim: Claim) -> SessionMemory:
        """Open the memory of a claimed message's session, up to date.

        Raises:
            LeaseLost: the session was cleared since the claim.
        """
        memory = SessionMemory(self._database, self.files, claim)
        await memory.open()
        return memory

    async def remove_stale(self) -> None:
        """Delete files of past generations, of sessions that are gone and of processes that ended.

        An attempt that is late may bring back one of them: then the next removal takes it.
        """
        files = await self.files.names()
        removed = await self.files.remove_orphans()
        for first in range(0, len(files), _SESSIONS_AT_ONCE):
            some = files[first : first + _SESSIONS_AT_ONCE]
            # asked after the listing: a file cannot be newer than the answer
            async with self._database.read() as db:
                current = await sessions.generations(db, [session_id for session_id, _ in some])
            stale = [file for file in some if current.get(file[0]) != file[1]]
            await self.files.remove(stale)
            removed += len(stale)
        if removed:
            _log.info("removed stale memory files", files=removed)

    def close(self) -> None:
        """Close the files and leave the folder to another process."""
        self.files.close()
