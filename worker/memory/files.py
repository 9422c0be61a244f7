"""The session files of a host."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from shared.database import Database
from shared.logging import get_logger
from shared.store import sessions
from shared.store.transitions import Claim
from shared.tables import VibeSession
from worker.memory.cache import OpenFiles
from worker.memory.file import MemoryFile, files_in, remove
from worker.memory.session import SessionMemory, when_free

T = TypeVar("T")
_LOCK_TIMEOUT_S = 5.0
_SESSIONS_AT_ONCE = 500
_OPEN_FILES = 250
_log = get_logger(__name__)


class MemoryFiles:
    """The session files of this host, as one worker process uses them."""

    def __init__(
        self, database: Database, folder: Path, *, lock_timeout_s: float = _LOCK_TIMEOUT_S
    ) -> None:
        self._database = database
        self._folder = folder
        self._lock_timeout_s = lock_timeout_s
        self._open_files = OpenFiles(folder, most=_OPEN_FILES)
        # threads of its own: what else runs in threads may take long
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="memory")

    async def open(self, claim: Claim) -> SessionMemory:
        """Open the memory of a claimed message's session, up to date.

        Raises:
            LeaseLost: the session was cleared since the claim.
        """
        memory = SessionMemory(
            self._database,
            self._open_files,
            claim,
            self._threads,
            lock_timeout_s=self._lock_timeout_s,
        )
        try:
            await memory.open()
        except BaseException:
            memory.close()
            raise
        return memory

    async def use(self, session: VibeSession, call: Callable[[MemoryFile], T]) -> T:
        """Call with a session's file what locks it, in a thread.

        Raises:
            TimeoutError: somebody has the file all the time.
        """
        key = session.openai_session_key
        file = MemoryFile(self._folder, session.id, session.generation, key=key)
        return await when_free(partial(call, file), self._in_thread, timeout_s=self._lock_timeout_s)

    async def remove_stale(self) -> None:
        """Delete this host's files of past generations and of sessions that are gone."""
        files = await self._in_thread(lambda: files_in(self._folder))
        removed = 0
        for first in range(0, len(files), _SESSIONS_AT_ONCE):
            some = files[first : first + _SESSIONS_AT_ONCE]
            # asked after the listing: a file cannot be newer than the answer
            async with self._database.read() as db:
                current = await sessions.generations(db, [session_id for session_id, _ in some])
            stale = [file for file in some if current.get(file[0]) != file[1]]
            self._open_files.close(stale)
            removed += await self._in_thread(partial(remove, self._folder, stale))
        if removed:
            _log.info("removed stale memory files", files=removed)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close_idle(self) -> None:
        """Close the files that no attempt uses."""
        self._open_files.close()

    def close(self) -> None:
        """Let no more work begin."""
        self._threads.shutdown(wait=False)
        self.close_idle()
