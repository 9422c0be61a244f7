"""A handle of a session file: whether it still sees what the file holds, and how it waits."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE
from uuid import UUID, uuid4

import pytest

from tests.shared.world import said
from tests.worker.test_memory import items
from worker.memory.file import MemoryFile
from worker.memory.file_handle import Contents, FileHandle

SESSION, FIRST = uuid4(), uuid4()
ONE = Contents(1, FIRST)


def another(folder: Path) -> MemoryFile:
    return MemoryFile(folder, SESSION, 1, key="key")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[MemoryFile]:
    """Give an open file with one message's item; the folder has an earlier state of it."""
    with closing(another(tmp_path)) as file:
        file.begin()
        shutil.copy(file.path, tmp_path / "earlier")
        assert file.append(Contents(0, None), items("a"), FIRST)
        yield file


def test_what_another_process_writes_is_seen_through_the_open_handle(file: MemoryFile) -> None:
    message_id, session = UUID(int=1), file.session
    with closing(another(file.path.parent)) as other:
        assert other.append(ONE, items("b"), message_id)
    assert not file.still_holds(ONE)
    assert file.still_holds(Contents(2, message_id))
    assert file.session is session, "it is not opened again"


def change_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def put_an_equal_one_in_its_place(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def delete(path: Path) -> None:
    path.unlink()


BENEATH = [change_the_middle, cut, put_an_equal_one_in_its_place, delete]


@pytest.mark.parametrize("change", BENEATH, ids=lambda change: change.__name__)
def test_what_happens_to_a_file_beneath_sqlite_is_noticed(
    file: MemoryFile, change: Callable[[Path], None]
) -> None:
    with closing(FileHandle(file.path, "key")) as handle:
        assert handle.holds_now(ONE)
        change(file.path)
        assert not handle.holds_now(ONE)


def test_an_earlier_state_in_a_files_place_is_read_as_that(file: MemoryFile) -> None:
    file.path.write_bytes((file.path.parent / "earlier").read_bytes())
    assert not file.still_holds(ONE)
    assert file.still_holds(Contents(0, None))


def test_who_is_writing_is_not_waited_for_by_the_loop(file: MemoryFile) -> None:
    assert file.still_holds(ONE)
    with closing(sqlite3.connect(file.path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert not file.still_holds(ONE)
        assert time.monotonic() - began < 0.2
    assert file.still_holds(ONE)


_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from uuid import UUID, uuid4
from tests.worker.test_memory import items
from worker import failpoints
from worker.memory.file_handle import Contents
from worker.memory.file import MemoryFile

def die_when_told(point):
    print(point, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)

folder, session, message = Path(sys.argv[1]), UUID(sys.argv[2]), UUID(sys.argv[3])
failpoints.hit = die_when_told
file = MemoryFile(folder, session, 1, key="key")
much = items(*("x" * 100_000 for _ in range(60)))
"""
_APPENDS = "file.append(Contents(1, message), much, uuid4())"
_REPLACES = "file.replace(much, uuid4())"


@contextmanager
def killed_in_the_middle(file: MemoryFile, does: str) -> Iterator[None]:
    """Let another process write six megabytes, more than SQLite keeps back, and kill it."""
    what = [str(file.path.parent), str(SESSION), str(FIRST)]
    command = [sys.executable, "-c", _IN_THE_MIDDLE + does, *what]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "in_sync\n"
        yield
        process.communicate("\n", timeout=60)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.services
def test_half_of_what_a_killed_process_wrote_is_taken_back(file: MemoryFile) -> None:
    assert file.still_holds(ONE)
    size = file.path.stat().st_size
    with killed_in_the_middle(file, _APPENDS):
        pass
    assert file.path.stat().st_size > size + 1_000_000
    assert file.still_holds(ONE)
    assert asyncio.run(file.session.get_items()) == said("a")
    assert file.path.stat().st_size == size


@pytest.mark.services
def test_who_reads_the_old_file_cannot_make_half_of_the_new_one_last(file: MemoryFile) -> None:
    """A reader takes a journal of its file's name for its file's, plays it and cuts it off."""
    session = file.session
    with killed_in_the_middle(file, _REPLACES):
        assert asyncio.run(session.get_items()) == said("a")
    with closing(another(file.path.parent)) as other:
        assert other.read() is None
        other.replace(items("a"), FIRST)
        assert other.read() == (ONE, said("a"))
    kept = {"", ".lock", "-journal"}
    left = {path.name.removeprefix(file.path.name) for path in file.path.parent.iterdir()}
    assert left - {"earlier"} <= kept
