"""One conversation's file on this host's disk: its lock, what it holds, and its removal.

What blocks here runs in threads; what a loop may call says so.
"""

import functools
import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from agents import SQLiteSession, TResponseInputItem
from filelock import FileLock

from worker.memory.file_handle import APPLIED, JOURNAL, Contents, FileHandle, identity_of
from worker.memory.file_session import ITEMS

_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d{1,9})\.db(?:\.lock)?")
_NEW = ".new"


class MemoryFile:
    """A session file of one generation, `{folder}/{session_id}.{generation}.db`."""

    def __init__(self, folder: Path, session_id: UUID, generation: int, *, key: str) -> None:
        self.of = session_id, generation
        self.path = folder / name_of(session_id, generation)
        self.key = key
        self._handle: FileHandle | None = None
        # flock; a lock file that somebody unlinked meanwhile does not count as locked
        self._lock = FileLock(f"{self.path}.lock", blocking=False, thread_local=False)

    @property
    def is_open(self) -> bool:
        """Tell whether there is something to close."""
        return self._handle is not None

    @property
    def session(self) -> SQLiteSession:
        """The Agents SDK's session over the open file."""
        assert self._handle is not None, "it is read while it is open"
        return self._handle.session

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
        try:
            handle = self._open()
            return handle.contents() if handle else None
        except (sqlite3.Error, ValueError):
            return None

    def still_holds(self, contents: Contents) -> bool:
        """Tell whether the file was left open and holds just this; short enough for a loop.

        Without the lock: one statement sees one state, and who is writing is not waited for.
        """
        return self._handle is not None and self._handle.holds_now(contents)

    def holds(self, contents: Contents) -> bool:
        """Lock the file and tell whether it holds just this; raise as `lock` does."""
        self.lock()
        try:
            # who asks reads it then: what that takes is made here, in a thread
            return self.look() == contents and self.session is not None
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
            self.write(items, message_id, anew=False)
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
                return Contents.of(own, self.key), [json.loads(row[0]) for row in rows]
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
        """Add items and whose came last to the locked file, or to an empty one in its place."""
        if anew:
            self.close()
            self._remove()
            self._build(items, applied)
        else:
            assert self._handle is not None
            self._handle.add(items, applied)

    def _build(self, items: Sequence[TResponseInputItem], applied: UUID | None) -> None:
        """Build the file under another name: who still reads the one before it may find a journal.

        SQLite looks for a journal by the file's name, and would play that of the new file into the
        old one and cut it off.
        """
        new = Path(f"{self.path}{_NEW}")
        new.write_bytes(_empty())
        with closing(FileHandle(new, self.key)) as handle:
            handle.add(items, applied)
        Path(f"{new}-journal").unlink(missing_ok=True)
        new.replace(self.path)
        self._handle = FileHandle(self.path, self.key)

    def close(self) -> None:
        """Close the file; short enough for a loop."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def remove(self) -> None:
        """Delete the file under its lock, and the lock file last: openers look at its inode."""
        with self._lock:
            self._remove()
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _open(self) -> FileHandle | None:
        identity = identity_of(self.path)
        if identity is None:
            return None
        if self._handle is None or not self._handle.sees(identity):
            self.close()
            self._handle = FileHandle(self.path, self.key)
        return self._handle

    def _remove(self) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        # the file itself last: what is left beside it would be played into the next one
        for suffix in (f"{_NEW}-journal", _NEW, "-wal", "-shm", "-journal", ""):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


@functools.cache
def _empty() -> bytes:
    """Return a file without items, as the SDK makes it: to copy one takes half as long."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "empty.db")
        with closing(sqlite3.connect(path)) as own:
            SQLiteSession("", path).close()
            own.execute(JOURNAL)
            own.execute(APPLIED)
        return path.read_bytes()


def name_of(session_id: UUID, generation: int) -> str:
    """Return the name of a session's file."""
    return f"{session_id}.{generation}.db"


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
