"""One conversation's file on this host's disk: its lock, what it holds, and its removal.

What blocks here runs in threads; what a loop may call says so. The file is the Agents SDK's
SQLiteSession plus a one-row table of ours, `applied`, that names the message whose items came last.
"""

import functools
import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from agents import SQLiteSession, TResponseInputItem
from filelock import FileLock

from worker import faults
from worker.file_session import ITEMS, FileSession

_Identity = tuple[int, int, int] | None
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d{1,9})\.db(?:\.lock)?")
_APPLIED = "CREATE TABLE IF NOT EXISTS applied (message_id TEXT)"
_COUNT = "SELECT count(*) FROM agent_messages WHERE session_id = ?"
_CONTENTS = """SELECT (SELECT message_id FROM applied),
    (SELECT count(*) FROM agent_messages WHERE session_id = ?)"""


@dataclass(frozen=True)
class Contents:
    """How many items there are, and which message wrote the last of them."""

    count: int
    applied: UUID | None


class MemoryFile:
    """A session file of one generation, `{folder}/{session_id}.{generation}.db`."""

    def __init__(self, folder: Path, session_id: UUID, generation: int, *, key: str) -> None:
        self.of = session_id, generation
        self.path = folder / name_of(session_id, generation)
        self.key = key
        self.session: SQLiteSession | None = None
        self._own: sqlite3.Connection | None = None
        self._identity: _Identity = None
        # flock; a lock file that somebody unlinked meanwhile does not count as locked
        self._lock = FileLock(f"{self.path}.lock", blocking=False, thread_local=False)

    @property
    def is_open(self) -> bool:
        """Tell whether there is something to close."""
        return self._own is not None

    def lock(self) -> None:
        """Take the file's lock.

        Raises:
            TimeoutError: somebody has it.
            OSError: it cannot be made.
        """
        self._lock.acquire()  # makes the folder, too

    def unlock(self) -> None:
        """Let others in; nothing happens if it is not locked here. Short enough for a loop."""
        self._lock.release()

    def begin(self) -> None:
        """Lock the file of a session without items and make it, if there is none.

        Before its first message ends: then its removal, as a file of a past generation, says that
        the session was cleared, and the end need not ask the database. Raises as `lock` does.
        """
        self.lock()
        try:
            if not self.path.exists():
                self.path.write_bytes(_empty())
        finally:
            self.unlock()

    def lock_and_look(self) -> Contents | None:
        """Take the file's lock and look into it; raise as `lock` does."""
        self.lock()
        return self.look()

    def look(self) -> Contents | None:
        """Open the locked file and look into it; None when it is missing or unreadable."""
        identity = _identity(self.path)
        if identity is None:
            return None
        try:
            self._open(identity)
            assert self._own is not None
            return _contents(self._own, self.key)
        except (sqlite3.Error, ValueError):
            return None

    def still_holds(self, contents: Contents) -> bool:
        """Tell whether the file was left open and holds just this; short enough for a loop.

        Without the lock: one statement sees one state, and nothing is opened.
        """
        if self._own is None or self._identity != _identity(self.path):
            return False
        try:
            return _contents(self._own, self.key) == contents
        except (sqlite3.Error, ValueError):
            return False

    def holds(self, contents: Contents) -> bool:
        """Lock the file and tell whether it holds just this; raise as `lock` does."""
        self.lock()
        try:
            return self.look() == contents
        finally:
            self.unlock()

    def append(
        self, before: Contents, items: Sequence[TResponseInputItem], message_id: UUID
    ) -> bool:
        """Lock the file and add a message's items, if it holds just what was before them.

        Raises:
            sqlite3.Error: it is broken deep inside.
            TimeoutError, OSError: as for `lock`.
        """
        self.lock()
        try:
            if self.look() != before:
                return False
            self.add(items, message_id)
            return True
        finally:
            self.unlock()

    def read(self) -> tuple[Contents, list[Any]] | None:
        """Lock the file and read all of it, changing nothing; None when there is none.

        Raises:
            sqlite3.Error, ValueError: it is unreadable.
            TimeoutError, OSError: as for `lock`.
        """
        if not self.path.exists():
            return None
        self.lock()
        try:
            with closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=rw", uri=True)
            ) as own:
                (verdict,) = own.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
                rows = own.execute(ITEMS, (self.key,)).fetchall()
                return _contents(own, self.key), [json.loads(row[0]) for row in rows]
        finally:
            self.unlock()

    def replace(self, items: Sequence[TResponseInputItem], applied: UUID | None) -> None:
        """Lock the file and build it anew; raise as `lock` does."""
        self.lock()
        try:
            self.write(items, applied, anew=True)
        finally:
            self.close()
            self.unlock()

    def write(
        self, items: Sequence[TResponseInputItem], applied: UUID | None, *, anew: bool
    ) -> None:
        """Add items to the locked file, or to an empty one in its place."""
        if anew:
            self.close()
            self._remove()
            self.path.write_bytes(_empty())
            self._open(_identity(self.path))
        self.add(items, applied)

    def add(self, items: Sequence[TResponseInputItem], applied: UUID | None) -> None:
        """Add items to the locked file, and whose came last: both or nothing."""
        assert self._own is not None
        rows = [(self.key, json.dumps(item)) for item in items]
        with self._own as file:
            file.execute(
                "INSERT OR IGNORE INTO agent_sessions (session_id) VALUES (?)", (self.key,)
            )
            file.executemany(
                "INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", rows
            )
            if items:  # what is empty has no middle
                faults.reach("in_sync")
            file.execute(_APPLIED)
            file.execute(
                "REPLACE INTO applied (rowid, message_id) VALUES (1, ?)",
                (applied and str(applied),),
            )
        self._identity = _identity(self.path)

    def close(self) -> None:
        """Close the file; an unclosed SQLiteSession leaks descriptors."""
        if self.session is not None:
            self.session.close()
            self.session = None
        if self._own is not None:
            self._own.close()
            self._own = None
        self._identity = None

    def remove(self) -> None:
        """Delete the file under its lock, and the lock file last: openers look at its inode."""
        with self._lock:
            self._remove()
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _open(self, identity: "_Identity") -> None:
        if self.session is not None and self._identity == identity:
            return
        self.close()  # somebody else wrote into the file, or rebuilt it, beneath this handle
        self._own = sqlite3.connect(self.path, check_same_thread=False)
        # before the first statement: what the SDK opens and closes would stay open beneath a lock
        self.session = FileSession(self.key, self.path, self._own)
        self._own.execute("PRAGMA journal_mode=WAL")
        # no waiting for the disk: what a power cut takes or breaks is noticed, and healed
        self._own.execute("PRAGMA synchronous=OFF")
        self._identity = _identity(self.path)

    def _remove(self) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        for suffix in ("-wal", "-shm", ""):  # the file itself last: without it the others are lost
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


@functools.cache
def _empty() -> bytes:
    """Return a file without items, as the SDK makes it: to copy one takes half as long."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "empty.db")
        with closing(sqlite3.connect(path)) as own:
            own.execute("PRAGMA journal_mode=WAL")
            SQLiteSession("", path).close()
            own.execute(_APPLIED)
        return path.read_bytes()


def name_of(session_id: UUID, generation: int) -> str:
    """Return the name of a session's file."""
    return f"{session_id}.{generation}.db"


def _contents(file: sqlite3.Connection, key: str) -> Contents:
    try:
        applied, count = file.execute(_CONTENTS, (key,)).fetchone()
    except sqlite3.OperationalError:  # there is no note yet, or somebody took it away
        (count,), applied = file.execute(_COUNT, (key,)).fetchone(), None
    return Contents(count, UUID(applied) if applied else None)


def _identity(path: Path) -> _Identity:
    """Tell one state of the main file from another; what SQLite keeps beside it, it watches."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def remove(folder: Path, files: Iterable[tuple[UUID, int]]) -> int:
    """Delete files of (session, generation), but those that are locked; return how many."""
    removed = 0
    for session_id, generation in files:
        with suppress(OSError):
            MemoryFile(folder, session_id, generation, key="").remove()
            removed += 1
    return removed


def files_in(folder: Path) -> list[tuple[UUID, int]]:
    """List the session files as (session, generation), also where only the lock file is left."""
    names = (_NAME.fullmatch(path.name) for path in folder.glob("*.*.db*"))
    return sorted({(UUID(name[1]), int(name[2])) for name in names if name})
