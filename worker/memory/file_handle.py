"""One open connection to a session file: what it sees, and what it adds.

The file is the Agents SDK's SQLiteSession plus a one-row table of ours, `applied`, that names the
message whose items came last.
"""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from agents import SQLiteSession, TResponseInputItem

from worker import failpoints
from worker.memory.file_session import FileSession

_Identity = tuple[int, int, int]

APPLIED = "CREATE TABLE IF NOT EXISTS applied (message_id TEXT)"
JOURNAL = "PRAGMA journal_mode=TRUNCATE"
"""To open and close a file with a write-ahead log takes three times as long."""
_CONVERT_S = 0.2
"""So long for others to let go of a file that has a log of theirs; then it is made anew."""
_BUSY_MS = 5000
"""A transaction waits so long for who reads without the file's lock, and the other way round."""
_COUNT = "SELECT count(*) FROM agent_messages WHERE session_id = ?"
_CONTENTS = """SELECT (SELECT message_id FROM applied),
    (SELECT count(*) FROM agent_messages WHERE session_id = ?)"""


@dataclass(frozen=True)
class Contents:
    """How many items there are, and which message wrote the last of them."""

    count: int
    applied: UUID | None

    @classmethod
    def of(cls, file: sqlite3.Connection, key: str) -> "Contents":
        """Look into a file; one statement, unless somebody took the note away."""
        try:
            applied, count = file.execute(_CONTENTS, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # such as one that is just written
                raise
            (count,), applied = file.execute(_COUNT, (key,)).fetchone(), None
        return cls(count, UUID(applied) if applied else None)


class FileHandle:
    """A connection to one file, by which it is read and written until somebody replaces it."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._session: FileSession | None = None
        self._file = sqlite3.connect(path, timeout=_CONVERT_S, check_same_thread=False)
        try:
            self._file.execute(JOURNAL)
            self._file.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            # no waiting for the disk: what a power cut takes or breaks is noticed, and healed
            self._file.execute("PRAGMA synchronous=OFF")
            self._identity, self._version = identity_of(path), _version(self._file)
        except BaseException:
            self._file.close()
            raise

    @property
    def session(self) -> SQLiteSession:
        """The Agents SDK's session over the open file, made when it is first read.

        It is not cheap: what it keeps for each thread is looked for in all threads at its end.
        """
        if self._session is None:
            self._session = FileSession(self._key, self._path, self._file)
        return self._session

    def sees(self, identity: _Identity | None) -> bool:
        """Tell whether what the path leads to now is what the handle reads.

        If the version has changed with the file, SQLite has noticed it and dropped what it knew of
        it: another process has written. If it has not, somebody wrote without SQLite.

        Raises:
            sqlite3.Error: it cannot be read any more.
        """
        if identity is None or self._identity is None:
            return False
        if identity != self._identity and identity[0] == self._identity[0]:
            version = _version(self._file)
            if version != self._version:
                self._identity, self._version = identity, version
        return identity == self._identity

    def contents(self) -> Contents:
        """Look into the file."""
        return Contents.of(self._file, self._key)

    def holds_now(self, contents: Contents) -> bool:
        """Tell whether the path leads to just this, without waiting: not while it is written."""
        self._file.execute("PRAGMA busy_timeout=0")
        try:
            return self.sees(identity_of(self._path)) and self.contents() == contents
        except (sqlite3.Error, ValueError, OSError):
            return False
        finally:
            self._file.execute(f"PRAGMA busy_timeout={_BUSY_MS}")

    def add(self, items: Sequence[TResponseInputItem], applied: UUID | None) -> None:
        """Add items, and whose came last: both or nothing."""
        rows = [(self._key, json.dumps(item)) for item in items]
        with self._file as file:
            file.execute(
                "INSERT OR IGNORE INTO agent_sessions (session_id) VALUES (?)", (self._key,)
            )
            file.executemany(
                "INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", rows
            )
            if items:  # what is empty has no middle
                failpoints.hit("in_sync")
            file.execute(APPLIED)
            file.execute(
                "REPLACE INTO applied (rowid, message_id) VALUES (1, ?)",
                (applied and str(applied),),
            )
        self._identity = identity_of(self._path)

    def close(self) -> None:
        """Close the file; an unclosed SQLiteSession leaks descriptors. Short enough for a loop."""
        if self._session is not None:
            self._session.close()
        self._file.close()


def identity_of(path: Path) -> _Identity | None:
    """Tell one state of a file from another; None when there is none."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _version(file: sqlite3.Connection) -> int:
    """Return a number that changes when SQLite has dropped what it knew of the file."""
    return int(file.execute("PRAGMA data_version").fetchone()[0])
