"""One conversation's file on this host's disk: its lock, what it holds, and its removal.

Everything here blocks and runs in threads. The file is the Agents SDK's SQLiteSession plus a
one-row table of ours, `applied`, that names the message whose items came last.
"""

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from agents import SQLiteSession
from filelock import FileLock

LOCK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Contents:
    """How many items there are, and which message wrote the last of them."""

    count: int
    applied: UUID | None


class MemoryFile:
    """A session file of one generation, `{folder}/{session_id}.{generation}.db`."""

    def __init__(self, folder: Path, session_id: UUID, generation: int, *, key: str) -> None:
        self.path = folder / f"{session_id}.{generation}.db"
        self.key = key
        self.session: SQLiteSession | None = None
        self._inode = 0
        # flock on a file that stays: unlinking it would let two holders in
        self._lock = FileLock(f"{self.path}.lock", timeout=LOCK_TIMEOUT_S, thread_local=False)

    def lock(self) -> Contents | None:
        """Take the file's lock, open the file and look into it; None when it is unreadable.

        Raises:
            TimeoutError, OSError: it cannot be locked, or made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._open()
            return self._look()
        except sqlite3.Error:
            return None

    def unlock(self) -> None:
        """Let others in."""
        self._lock.release()

    def start_anew(self) -> None:
        """Replace the locked file by an empty one."""
        self.close()
        self._remove()
        self._open()

    def note_applied(self, message_id: UUID | None) -> None:
        """Note whose items came last; a crash before this shows as a difference, and heals."""
        with closing(sqlite3.connect(self.path)) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS applied (message_id TEXT)")
            file.execute("DELETE FROM applied")
            file.execute("INSERT INTO applied VALUES (?)", (message_id and str(message_id),))

    def close(self) -> None:
        """Close the file; an unclosed SQLiteSession leaks descriptors."""
        if self.session is not None:
            self.session.close()
            self.session = None

    def remove(self) -> None:
        """Delete the file under its lock, and the lock file last: openers look at its inode."""
        with self._lock:
            self._remove()
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _open(self) -> None:
        if self.session is not None and self._inode == _inode(self.path):
            return
        self.close()  # somebody rebuilt the file beneath this handle
        self.session = SQLiteSession(self.key, self.path)
        self._inode = _inode(self.path)

    def _look(self) -> Contents | None:
        with closing(sqlite3.connect(self.path)) as file:
            (count,) = file.execute(
                "SELECT count(*) FROM agent_messages WHERE session_id = ?", (self.key,)
            ).fetchone()
            noted = file.execute("SELECT name FROM sqlite_master WHERE name = 'applied'").fetchone()
            row = file.execute("SELECT message_id FROM applied").fetchone() if noted else None
        with suppress(ValueError):
            return Contents(count, UUID(row[0]) if row and row[0] else None)
        return None

    def _remove(self) -> None:
        for suffix in ("-wal", "-shm", ""):  # the file itself last: without it the others are lost
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _inode(path: Path) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_ino
    return 0


def remove_stale(folder: Path, current: dict[UUID, int]) -> int:
    """Delete files of past generations and of sessions that are gone; return how many."""
    stale = [
        (session_id, generation)
        for session_id, generation in files_in(folder)
        if current.get(session_id) != generation
    ]
    for session_id, generation in stale:
        MemoryFile(folder, session_id, generation, key="").remove()
    return len(stale)


def files_in(folder: Path) -> list[tuple[UUID, int]]:
    """List the session files as (session, generation)."""
    found = []
    for path in folder.glob("*.*.db"):
        session_id, generation, _ = path.name.split(".")
        with suppress(ValueError):
            found.append((UUID(session_id), int(generation)))
    return found
