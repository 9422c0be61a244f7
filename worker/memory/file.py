"""The session files of this process: the Agents SDK's SQLiteSession, and a note beside each.

A worker process has a folder of its own, so a file has one writer and one reader. The note states
how many items the file holds and which message wrote the last of them. It is written after the
items: a process that is killed between the two leaves a note that differs from the file.
"""

import asyncio
import re
import shutil
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from agents import SQLiteSession, TResponseInputItem
from filelock import FileLock
from pydantic import TypeAdapter

from shared.logging import get_logger
from shared.store.transitions import Claim
from worker import failpoints

T = TypeVar("T")
_log = get_logger(__name__)

UNUSABLE = (sqlite3.Error, OSError)
"""The errors of a file that cannot be read or written (a TimeoutError is an OSError)."""

_OPEN_FILES = 100
_LIMIT_S = 5.0
_FILE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d{1,9})\.(?:db|note)")
_FLAT = re.compile(rf"{_FILE.pattern}.*")


@dataclass(frozen=True)
class FileState:
    """How many items a conversation has, and which message wrote the last of them."""

    item_count: int
    last_message_id: UUID | None


_NOTE = TypeAdapter(FileState)


class SessionFiles:
    """The session files of one process. All work on them is done by one thread, job by job.

    Each method raises one of `UNUSABLE` where a file cannot be used or a job takes too long.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock: FileLock | None = None
        self._folder: Path | None = None
        self._open: OrderedDict[Path, SQLiteSession] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "memory", initializer=self._start)

    async def read(self, claim: Claim) -> tuple[FileState, list[TResponseInputItem]] | None:
        """Read a conversation's file; None: there is none, or it differs from its note."""
        return await self._do(lambda: self._read(claim))

    async def append(
        self, claim: Claim, before: FileState, items: list[TResponseInputItem], after: FileState
    ) -> bool:
        """Add items to a file whose note says `before`; tell whether it does."""
        return await self._do(lambda: self._append(claim, before, items, after))

    async def rebuild(
        self, claim: Claim, items: list[TResponseInputItem], after: FileState
    ) -> None:
        """Build a file from the first item on, in place of any other."""
        await self._do(lambda: self._rebuild(claim, items, after))

    async def names(self) -> list[tuple[UUID, int]]:
        """List the files of this process as (session, generation)."""
        return await self._do(lambda: files_in(self._own_folder()))

    async def remove(self, files: Iterable[tuple[UUID, int]]) -> None:
        """Delete files of this process, given as (session, generation)."""
        await self._do(lambda: self._remove_all(files))

    async def remove_orphans(self) -> int:
        """Delete the folders that no process locks, and files of the layout without folders."""
        return await self._do(self._remove_orphans)

    def close_idle(self) -> None:
        """Close the files that are open; the next use opens them again."""
        self._thread.submit(self._close_all).result()

    def close(self) -> None:
        """Close the files and leave the folder to another process."""
        self._thread.submit(self._end).result()
        self._thread.shutdown()

    async def _do(self, job: Callable[[], T]) -> T:
        async with asyncio.timeout(_LIMIT_S):
            return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def _start(self) -> None:
        """Prepare the thread that does the work.

        SQLiteSession opens a connection for each thread of the loop's executor that it happens to
        use: here there is one.
        """
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_default_executor(ThreadPoolExecutor(1))

    def _read(self, claim: Claim) -> tuple[FileState, list[TResponseInputItem]] | None:
        path = self._path(claim.session_id, claim.generation)
        note = _read_note(path)
        if note is None:
            return None
        try:
            items = self._runner.run(self._session(path, claim).get_items())
        except (*UNUSABLE, ValueError) as error:
            _log.info("memory file is unreadable, rebuilding it", error=repr(error))
            return None
        # the SDK leaves out items that are no JSON
        return (note, items) if len(items) == note.item_count else None

    def _append(
        self, claim: Claim, before: FileState, items: list[TResponseInputItem], after: FileState
    ) -> bool:
        path = self._path(claim.session_id, claim.generation)
        if _read_note(path) != before:
            return False
        self._add(path, claim, items, after)
        return True

    def _rebuild(self, claim: Claim, items: list[TResponseInputItem], after: FileState) -> None:
        path = self._path(claim.session_id, claim.generation)
        self._remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._add(path, claim, items, after)

    def _add(
        self, path: Path, claim: Claim, items: list[TResponseInputItem], after: FileState
    ) -> None:
        self._runner.run(self._session(path, claim).add_items(items))
        failpoints.hit("in_sync")
        _note_of(path).write_bytes(_NOTE.dump_json(after))

    def _session(self, path: Path, claim: Claim) -> SQLiteSession:
        """Return the SDK's session over a file, and leave it open instead of the longest unused."""
        if not path.exists():
            self._close(path)  # a deleted file can still be read and written, to no use
        session = self._open.pop(path, None) or SQLiteSession(claim.openai_session_key, path)
        self._open[path] = session
        if len(self._open) > _OPEN_FILES:
            self._close(next(iter(self._open)))
        return session

    def _remove_all(self, files: Iterable[tuple[UUID, int]]) -> None:
        for session_id, generation in files:
            self._remove(self._path(session_id, generation))

    def _remove(self, path: Path) -> None:
        self._close(path)
        if path.is_dir():
            shutil.rmtree(path)
        for one in (_note_of(path), Path(f"{path}-wal"), Path(f"{path}-shm"), path):
            one.unlink(missing_ok=True)

    def _close(self, path: Path) -> None:
        if session := self._open.pop(path, None):
            with suppress(sqlite3.Error):
                session.close()

    def _path(self, session_id: UUID, generation: int) -> Path:
        return self._own_folder() / f"{session_id}.{generation}.db"

    def _own_folder(self) -> Path:
        """Return this process's folder, the first that no other process has."""
        if self._folder is None:
            self._folder, self._lock = next(
                (folder, lock)
                for folder in (self._root / str(number) for number in count(1))
                if (lock := _try_lock(folder))
            )
        return self._folder

    def _remove_orphans(self) -> int:
        removed = 0
        for path in self._root.glob("*"):
            if _FLAT.fullmatch(path.name):  # of a version that had one folder for all processes
                path.unlink(missing_ok=True)
                removed += 1
            elif path.name.isdecimal() and path != self._folder and (lock := _try_lock(path)):
                with lock:
                    removed += len(files_in(path))
                    shutil.rmtree(path, ignore_errors=True)
                    Path(lock.lock_file).unlink(missing_ok=True)
        return removed

    def _close_all(self) -> None:
        for path in list(self._open):
            self._close(path)

    def _end(self) -> None:
        self._close_all()
        self._runner.close()
        if self._lock:
            self._lock.release()


def files_in(folder: Path) -> list[tuple[UUID, int]]:
    """List the session files of a folder as (session, generation)."""
    names = (_FILE.fullmatch(path.name) for path in folder.glob("*"))
    return sorted({(UUID(name[1]), int(name[2])) for name in names if name})


def _try_lock(folder: Path) -> FileLock | None:
    """Lock a folder until the process ends; None: another process has it."""
    lock = FileLock(f"{folder}.lock", blocking=False)
    try:
        lock.acquire()  # makes the folders above, too
    except TimeoutError:
        return None
    return lock


def _note_of(path: Path) -> Path:
    return path.with_suffix(".note")


def _read_note(path: Path) -> FileState | None:
    try:
        return _NOTE.validate_json(_note_of(path).read_bytes())
    except (OSError, ValueError):
        return None
