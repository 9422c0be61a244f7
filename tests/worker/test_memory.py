"""Session files: whatever became of them, the model sees what the database remembers."""

import asyncio
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from agents import SQLiteSession, TResponseInputItem
from filelock import FileLock
from structlog.testing import capture_logs

from shared.store.transitions import Claim, LeaseLost
from shared.tables import VibeSession
from tests.shared.world import ON_SQLITE, World, claim_of, said
from worker import failpoints
from worker.memory.file import FileState, SessionFiles, files_in
from worker.memory.session import Memories


class Host:
    """A host's folder of session files, and what opening one there gives."""

    def __init__(self, world: World, root: Path) -> None:
        self.world = world
        self.folder = root / "1"
        self.memories = Memories(world.database, root)
        world.exits.callback(self.memories.close)

    def path(self, session: VibeSession, generation: int = 1) -> Path:
        return self.folder / f"{session.id}.{generation}.db"

    def note(self, session: VibeSession) -> Path:
        return self.path(session).with_suffix(".note")

    async def answer(self, session: VibeSession, *texts: str) -> Claim:
        """Have a message answered here, with the file synced before and after."""
        claim = await self.world.claimed(session)
        memory = await self.memories.open(claim)
        await memory.add_items(items(*texts))
        await self.world.complete(claim, items=said(*texts))
        await memory.sync_committed()
        return claim

    async def seen(self, session: VibeSession) -> list[Any]:
        """Open the memory as the session's next message would, and give what the model sees."""
        stored = await self.world.stored_session(session)
        memory = await self.memories.open(claim_of(stored))
        return [dict(item) for item in memory.history]

    async def heals(self, session: VibeSession) -> None:
        """Check what the model sees, and that the file holds it from then on."""
        expected = await self.world.items(session)
        with capture_logs() as logs:
            assert await self.seen(session) == expected
        assert not [log for log in logs if "RAM" in log["event"]]
        assert stored_items(self.path(session), session.openai_session_key) == expected
        assert await self.seen(session) == expected


def items(*texts: str) -> list[TResponseInputItem]:
    """Say texts as a run hands them to its memory."""
    return [{"role": "user", "content": text} for text in texts]


def stored_items(path: Path, key: str) -> list[Any]:
    """Read a file as the Agents SDK lays it out."""
    query = "SELECT message_data FROM agent_messages WHERE session_id = ? ORDER BY id"
    with closing(sqlite3.connect(path)) as file:
        return [json.loads(row[0]) for row in file.execute(query, (key,))]


def damage(path: Path, statement: str, *values: Any) -> None:
    """Change a session file behind everybody's back."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement, values)


@pytest.fixture
def host(world: World, tmp_path: Path) -> Host:
    return Host(world, tmp_path / "host")


@pytest.fixture
def elsewhere(world: World, tmp_path: Path) -> Host:
    return Host(world, tmp_path / "elsewhere")


@ON_SQLITE
async def test_a_new_session_remembers_nothing_and_gets_its_file_with_its_first_message(
    world: World, host: Host
) -> None:
    session = await world.session()
    assert await host.seen(session) == []
    assert not host.path(session).exists()
    await host.answer(session, "a")
    assert stored_items(host.path(session), session.openai_session_key) == said("a")


@ON_SQLITE
async def test_a_file_in_the_place_of_a_new_session_is_not_kept(world: World, host: Host) -> None:
    session = await world.session()
    claim = claim_of(session)
    await host.memories.files.rebuild(claim, items("of nobody"), FileState(1, uuid4()))
    assert await host.seen(session) == []
    await host.answer(session, "a")
    assert await host.seen(session) == said("a")


async def test_after_each_message_the_file_holds_what_the_database_holds(
    world: World, host: Host
) -> None:
    session = await world.session()
    for texts in (["a", "b"], ["c"], ["d", "e", "f"]):
        await host.answer(session, *texts)
        stored = stored_items(host.path(session), session.openai_session_key)
        assert stored == await world.items(session)
    assert len(await host.seen(session)) == 6


@ON_SQLITE
async def test_a_file_that_is_up_to_date_is_not_written(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a")
    damage(host.path(session), "CREATE TABLE untouched (x)")
    await host.heals(session)
    with closing(sqlite3.connect(host.path(session))) as file:
        file.execute("SELECT * FROM untouched")


async def test_a_file_that_is_behind_gets_what_is_missing_and_keeps_the_rest(
    world: World, host: Host, elsewhere: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    damage(host.path(session), "CREATE TABLE kept (x)")
    await elsewhere.answer(session, "c", "d")
    await host.heals(session)
    with closing(sqlite3.connect(host.path(session))) as file:
        file.execute("SELECT * FROM kept")


async def test_a_file_that_is_ahead_is_rebuilt(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a")
    ahead = SQLiteSession(session.openai_session_key, host.path(session))
    await ahead.add_items([{"role": "user", "content": "never committed"}])
    ahead.close()
    await host.heals(session)


async def test_a_restored_backup_with_as_many_items_is_noticed(
    world: World, host: Host, elsewhere: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    backup = await world.stored_session(session)
    await host.answer(session, "lost", "with the database")
    await world.delete_items(session, start=1)
    await world.change(
        VibeSession,
        session.id,
        item_count=backup.item_count,
        last_message_id=backup.last_message_id,
    )
    await elsewhere.answer(session, "after", "the restore")
    assert await host.seen(session) == said("a", "after", "the restore")
    await host.heals(session)


@ON_SQLITE
async def test_items_of_another_message_in_the_place_of_the_last_are_noticed(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    claim = claim_of(await world.stored_session(session))
    await host.memories.files.rebuild(claim, items("x", "y"), FileState(2, uuid4()))
    await host.heals(session)


@ON_SQLITE
@pytest.mark.parametrize("before", [[], ["a"]], ids=["the first", "the second"])
async def test_a_crash_between_items_and_note_is_noticed(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch, before: list[str]
) -> None:
    session = await world.session()
    for text in before:
        await host.answer(session, text)
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "hit", _crash)
        with pytest.raises(RuntimeError):
            await host.answer(session, "b", "c")
    assert stored_items(host.path(session), session.openai_session_key) == said(*before, "b", "c")
    await host.heals(session)
    await host.answer(session, "d")
    await host.heals(session)


@ON_SQLITE
async def test_a_note_that_was_half_written_is_noticed(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a")
    note = host.note(session).read_bytes()
    for length in range(len(note)):
        host.note(session).write_bytes(note[:length])
        assert await host.memories.files.read(claim_of(session)) is None
    await host.heals(session)
    assert host.note(session).read_bytes() == note


@ON_SQLITE
async def test_a_prefix_that_ends_within_a_messages_items_is_rebuilt(
    world: World, host: Host
) -> None:
    session = await world.session()
    claim = await host.answer(session, "a", "b", "c")
    await host.memories.files.rebuild(claim, items("a", "x"), FileState(2, claim.message_id))
    await host.heals(session)


def _make_directory(path: Path) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


def _spoil_note(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.with_suffix(".note").write_bytes(content)


BREAKAGES: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(os.urandom(9000)),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "half a header": lambda path: os.truncate(path, 50),
    "a directory": _make_directory,
    "missing": lambda path: path.unlink(),
    "another schema": lambda path: damage(
        path, "ALTER TABLE agent_messages RENAME session_id TO x"
    ),
    "no table": lambda path: damage(path, "DROP TABLE agent_messages"),
    "no note": lambda path: path.with_suffix(".note").unlink(),
    "a foreign note": _spoil_note(b'{"items": 6}'),
    "a note of garbage": _spoil_note(os.urandom(90)),
    "broken JSON": lambda path: damage(path, "UPDATE agent_messages SET message_data = '{' || id"),
    "binary items": lambda path: damage(path, "UPDATE agent_messages SET message_data = x'ff00'"),
    "another key": lambda path: damage(path, "UPDATE agent_messages SET session_id = 'x'"),
}


@ON_SQLITE
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_a_broken_file_is_rebuilt(
    world: World, host: Host, breakage: str, is_open: bool
) -> None:
    session = await world.session()
    for number in range(3):
        await host.answer(session, "x" * 3000, str(number))
    if not is_open:
        host.memories.files.close_idle()
    BREAKAGES[breakage](host.path(session))
    if is_open and host.path(session).exists():  # what SQLite has read before it may still give
        assert await host.seen(session) == await world.items(session)
        host.memories.files.close_idle()
    await host.heals(session)


@ON_SQLITE
async def test_what_is_broken_deep_inside_is_rebuilt(world: World, host: Host) -> None:
    session = await world.session()
    for number in range(20):
        await host.answer(session, "x" * 3000, str(number))
    host.memories.files.close_idle()
    path = host.path(session)
    page = path.stat().st_size // 4096 // 2 * 4096
    content = path.read_bytes()
    path.write_bytes(content[:page] + os.urandom(20_000) + content[page + 20_000 :])
    await host.heals(session)


@ON_SQLITE
async def test_files_that_vanish_during_a_run_come_back(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    claim = await world.claimed(session)
    memory = await host.memories.open(claim)
    for path in host.folder.iterdir():
        path.unlink()
    await memory.add_items(items("c"))
    await world.complete(claim, items=said("c"))
    await memory.sync_committed()
    await host.heals(session)


@ON_SQLITE
async def test_each_process_takes_the_first_folder_that_no_other_has(
    world: World, tmp_path: Path
) -> None:
    session = await world.session()
    claim = claim_of(session)
    first, second, third = (SessionFiles(tmp_path) for _ in range(3))
    for files in (first, second):
        await files.rebuild(claim, items("a"), FileState(1, None))
    first.close()
    await third.rebuild(claim, items("b"), FileState(1, None))
    second.close()
    third.close()
    name = f"{session.id}.1.db"
    found = [
        stored_items(tmp_path / number / name, claim.openai_session_key) for number in ("1", "2")
    ]
    assert found == [said("b"), said("a")]


async def test_an_opening_that_is_cancelled_holds_up_nobody(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a")
    claim = claim_of(await world.stored_session(session))
    await host.heals(session)  # connected
    for delay in (0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.008):
        host.note(session).unlink()
        opening = asyncio.ensure_future(host.memories.open(claim))
        await asyncio.sleep(delay)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await host.heals(session)


@ON_SQLITE
async def test_a_disk_that_hangs_costs_only_the_file(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    freed = asyncio.Event()
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("worker.memory.file._LIMIT_S", 0.01)
        patch.setattr(
            SessionFiles,
            "_read",
            lambda *_: asyncio.run_coroutine_threadsafe(freed.wait(), loop).result(),
        )
        assert await host.seen(session) == said("a")
    freed.set()
    assert [log["event"] for log in logs] == ["memory file cannot be used, working in RAM"]
    await host.heals(session)


@ON_SQLITE
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
async def test_on_a_full_disk_the_run_works_on_a_copy_in_memory(
    world: World, elsewhere: Host, tmp_path: Path
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder]).returncode:  # noqa: ASYNC221, PLW1510
        pytest.skip("may not mount")
    try:
        host = Host(world, folder)
        session = await world.session()
        await host.answer(session, "a" * 10_000)
        await elsewhere.answer(session, "b" * 400_000)
        with capture_logs() as logs:
            assert await host.seen(session) == await world.items(session)
        assert [log["event"] for log in logs] == ["memory file cannot be used, working in RAM"]
        subprocess.run(["mount", "-o", "remount,size=20m", folder], check=True)  # noqa: ASYNC221
        await host.heals(session)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: ASYNC221


@ON_SQLITE
async def test_a_folder_that_cannot_be_made_costs_only_the_file(
    world: World, elsewhere: Host, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file where the folder should be")
    host = Host(world, taken / "sessions")
    session = await world.session()
    await elsewhere.answer(session, "a")
    with capture_logs() as logs:
        assert await host.seen(session) == said("a")
        await host.answer(session, "b")
    assert [log["log_level"] for log in logs] == ["warning"] * 3
    taken.unlink()
    await host.heals(session)


@ON_SQLITE
async def test_files_that_may_not_grow_cost_only_the_file(
    world: World, host: Host, elsewhere: Host
) -> None:
    session = await world.session()
    await elsewhere.answer(session, "a" * 200_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        seen = await host.seen(session)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert seen == said("a" * 200_000)
    await host.heals(session)


@pytest.mark.parametrize("before", [[], ["a"]], ids=["the first", "the second"])
async def test_a_cleared_file_that_a_late_attempt_brings_back_goes_with_the_next_sweep(
    world: World, host: Host, before: list[str]
) -> None:
    session = await world.session()
    for text in before:
        await host.answer(session, text)
    claim = await world.claimed(session)
    memory = await host.memories.open(claim)
    await world.complete(claim)
    await world.clear(session)
    await host.memories.remove_stale()
    assert not host.path(session).exists()
    await memory.sync_committed()
    await host.memories.remove_stale()
    assert not host.path(session).exists()


async def test_an_attempt_at_a_message_of_a_cleared_session_is_lost(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    claim = await world.claimed(session)
    await world.clear(session)
    await host.memories.remove_stale()
    with pytest.raises(LeaseLost):
        await host.memories.open(claim)
    assert not host.path(session).exists()


async def test_a_session_cleared_on_another_host_begins_empty_here(
    world: World, host: Host, elsewhere: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    await world.clear(session)
    assert await host.seen(session) == []
    await elsewhere.answer(session, "new")
    assert await host.seen(session) == said("new")


async def test_stale_files_are_removed_and_living_ones_and_foreign_ones_stay(
    world: World, host: Host
) -> None:
    project = await world.project()
    living, cleared, deleted = (
        await world.session(),
        await world.session(),
        await world.session(project),
    )
    for session in (living, cleared, deleted):
        await host.answer(session, "a")
    await world.clear(cleared)
    await world.delete(project)
    foreign = ["notes.1.db", "a.b.c.db", f"{uuid4()}.x.db"]
    for name in foreign:
        (host.folder / name).write_text("mine")
    await host.memories.remove_stale()
    host.memories.files.close_idle()
    left = {path.name for path in host.folder.iterdir()}
    assert left == {host.path(living).name, host.note(living).name, *foreign}
    assert files_in(host.folder) == [(living.id, 1)]


@ON_SQLITE
async def test_folders_that_no_process_has_and_files_without_a_folder_are_removed(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    root = host.folder.parent
    ended, used = SessionFiles(root), SessionFiles(root)
    for files in (ended, used):
        await files.rebuild(claim_of(session), items("a"), FileState(1, None))
    ended.close()
    for suffix in ("", ".lock", "-journal"):  # as they were before there were folders
        (root / f"{uuid4()}.1.db{suffix}").touch()
    (root / "mine").mkdir()
    await host.memories.remove_stale()
    assert {path.name for path in root.iterdir()} == {"1", "1.lock", "3", "3.lock", "mine"}
    assert await used.read(claim_of(session)) == (FileState(1, None), said("a"))
    used.close()
    with FileLock(root / "2.lock", blocking=False):
        pass  # nobody keeps it


@ON_SQLITE
async def test_files_stay_open_as_many_as_are_allowed_and_none_for_ever(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.memory.file._OPEN_FILES", 2)
    sessions = [await world.session() for _ in range(5)]
    for session in sessions:
        await host.answer(session, "a")

    def descriptors() -> int:
        return sum(
            f"{host.folder}/" in os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
            for fd in os.listdir("/proc/self/fd")  # noqa: PTH208
            if Path(f"/proc/self/fd/{fd}").is_symlink()
        )

    for _ in range(10):
        await asyncio.gather(*(host.seen(session) for session in sessions * 2))
    assert descriptors() == 2 * 3, "a file has a log and an index of it"
    host.memories.files.close_idle()
    assert descriptors() == 0


@ON_SQLITE
async def test_what_the_model_sees_is_read_from_the_file(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "from the database")
    altered = json.dumps({"role": "user", "content": "from the file"})
    damage(host.path(session), "UPDATE agent_messages SET message_data = ?", altered)
    assert await host.seen(session) == said("from the file")


@ON_SQLITE
async def test_what_the_model_sees_is_what_the_sdks_session_gives(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    read: list[Path] = []
    get_items = SQLiteSession.get_items

    async def spy(self: SQLiteSession, limit: int | None = None) -> Any:
        read.append(Path(self.db_path))
        return await get_items(self, limit)

    monkeypatch.setattr(SQLiteSession, "get_items", spy)
    await host.seen(session)
    assert read == [host.path(session)]


@ON_SQLITE
async def test_what_a_run_adds_is_in_no_file_and_can_be_taken_back(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    memory = await host.memories.open(claim_of(await world.stored_session(session)))
    await memory.add_items(items("b", "c"))
    assert await memory.get_items() == said("b", "c")
    assert await memory.get_items(1) == said("c")
    assert await memory.pop_item() == said("c")[0]
    assert memory.added == said("b")
    await memory.clear_session()
    assert await memory.pop_item() is None
    assert memory.history == said("a")
    assert stored_items(host.path(session), session.openai_session_key) == said("a")


class Simulation:
    """Hosts that answer messages of one session, crash anywhere and lose what they lose."""

    def __init__(self, world: World, folder: Path, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.hosts = [Host(world, folder / f"host{n}") for n in range(3)]
        self.text = 0

    async def run(self, session: VibeSession, steps: int) -> None:
        for _ in range(steps):
            host = self.random.choice(self.hosts)
            chosen = self.random.choices([self.answer, self.lose, self.clear], [16, 3, 1])[0]
            await chosen(host, session)
            stored = await self.world.stored_session(session)
            expected = await self.world.items(session, generation=stored.generation)
            assert await self.random.choice(self.hosts).seen(session) == expected

    async def answer(self, host: Host, session: VibeSession) -> None:
        """Answer a message; a crash leaves out what would have come after it."""
        claim = await self.world.claimed(session)
        memory = await host.memories.open(claim)
        self.text += 1
        texts = [f"{self.text}.{n}" for n in range(self.random.choice([0, 1, 2, 2, 5]))]
        crash = self.random.choice(["", "", "run", "sync", "middle"])
        await memory.add_items(items(*texts))
        if crash == "run":
            await self.world.fail(claim)
        else:
            await self.world.complete(claim, items=said(*texts))
        with pytest.MonkeyPatch.context() as patch:
            if crash == "middle":
                patch.setattr(failpoints, "hit", _crash)
            if crash not in {"run", "sync"}:
                with suppress(RuntimeError):
                    await memory.sync_committed()

    async def lose(self, host: Host, session: VibeSession) -> None:
        """Damage a host's file while it is closed, or put an older one in its place."""
        generation = (await self.world.stored_session(session)).generation
        path = host.path(session, generation)
        host.memories.files.close_idle()
        old = path.with_name("old")
        both = [(path, old), (path.with_suffix(".note"), old.with_suffix(".note"))]
        match self.random.choice(["keep", "restore", "break"]):
            case "keep" if all(one.exists() for one, _ in both):
                for one, kept in both:
                    kept.write_bytes(one.read_bytes())
            case "restore" if old.exists():
                for one, kept in both[: self.random.choice([1, 2])]:
                    one.write_bytes(kept.read_bytes())
            case "break" if path.exists():
                breakage = self.random.choice(["garbage", "empty", "truncated", "missing"])
                BREAKAGES[breakage](path)

    async def clear(self, host: Host, session: VibeSession) -> None:
        await self.world.clear(session)
        if self.random.random() < 0.5:
            await host.memories.remove_stale()


def _crash(*_: Any) -> Any:
    raise RuntimeError("crashed here")


@ON_SQLITE
@pytest.mark.parametrize("seed", range(6))
async def test_through_any_crashes_on_any_hosts_the_memory_is_the_databases(
    world: World, tmp_path: Path, seed: int
) -> None:
    with capture_logs():
        await Simulation(world, tmp_path, seed).run(await world.session(), steps=25)
