"""The session file that is read in one piece gives what the SDK's own session gives."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from agents import SQLiteSession, TResponseInputItem

from worker.memory.file_session import FileSession


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[SQLiteSession]:
    """Give the SDK's session of a file."""
    with closing(SQLiteSession("key", tmp_path / "session.db")) as theirs:
        yield theirs


@pytest.fixture
def ours(tmp_path: Path, theirs: SQLiteSession) -> Iterator[FileSession]:
    """Give our session of the same file."""
    path = theirs.db_path
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        yield FileSession("key", tmp_path / "session.db", connection)


def _items(count: int) -> list[TResponseInputItem]:
    return [{"role": "user", "content": f"\ud83d half of {n} \N{SNOWMAN}"} for n in range(count)]


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("count", [0, 3, 2500])
async def test_all_items_are_read_in_their_order(
    theirs: SQLiteSession, ours: FileSession, count: int, limit: int | None
) -> None:
    await theirs.add_items(_items(count))
    assert await ours.get_items(limit) == _items(count)[-(limit or count) :]
    assert await ours.get_items(limit) == await theirs.get_items(limit)


@pytest.mark.parametrize("broken", ["'{'", "x'ff00'"])
async def test_a_broken_item_is_left_out_and_no_other(
    theirs: SQLiteSession, ours: FileSession, broken: str
) -> None:
    await theirs.add_items(_items(3))
    with closing(sqlite3.connect(theirs.db_path)) as file, file:
        file.execute(f"UPDATE agent_messages SET message_data = {broken} WHERE id = 2")
    assert await ours.get_items() == [_items(3)[0], _items(3)[2]] == await theirs.get_items()
