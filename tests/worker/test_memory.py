"""Session files: whatever became of them, the model sees what the database remembers."""

import asyncio
import fcntl
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from agents import SQLiteSession, TResponseInputItem
from structlog.testing import capture_logs

from shared.store.transitions import Claim, LeaseLost
from shared.tables import VibeSession
from tests.services import ROOT, clean_environment
from tests.shared.world import ON_POSTGRESQL, ON_SQLITE, World, claim_of, said
from worker import failpoints
from worker.memory.file import files_in
from worker.memory.file_handle import FileHandle
from worker.memory.file_session import FileSession
from worker.memory.files import MemoryFiles


class Host:
    """A host's folder of session files, and what opening one there gives."""

    def __init__(self, world: World, folder: Path, *, lock_timeout_s: float = 0.3) -> None:
        self.world = world
        self.folder = folder
        self.files = MemoryFiles(world.database, folder, lock_timeout_s=lock_timeout_s)
        world.exits.callback(self.files.close)

    def path(self, session: VibeSession, generation: int = 1) -> Path:
        return self.folder / f"{session.id}.{generation}.db"

    async def answer(self, session: VibeSession, *texts: str) -> Claim:
        """Have a message answered here, with the file synced before and after."""
        claim = await self.world.claimed(session)
        memory = await self.files.open(claim)
        await memory.add_items(items(*texts))
        await self.world.complete(claim, items=said(*texts))
        await memory.sync_committed()
        memory.close()
        return claim

    async def seen(self, session: VibeSession, limit: int | None = None) -> list[Any]:
        """Open the memory as the session's next message would, and give what the model sees."""
        stored = await self.world.stored_session(session)
        memory = await self.files.open(claim_of(stored))
        try:
            return [dict(item) for item in await memory.get_items(limit)]
        finally:
            memory.close()

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


@ON_SQLITE
async def test_a_new_session_remembers_nothing_and_gets_an_empty_file(
    world: World, host: Host
) -> None:
    session = await world.session()
    assert await host.seen(session) == []
    assert stored_items(host.path(session), session.openai_session_key) == []
    await host.answer(session, "a")
    assert stored_items(host.path(session), session.openai_session_key) == said("a")


@ON_SQLITE
async def test_what_nobody_remembers_in_a_new_sessions_file_is_not_kept(
    world: World, host: Host
) -> None:
    other, session = await world.session(), await world.session()
    await host.answer(other, "of another")
    host.path(session).write_bytes(host.path(other).read_bytes())
    damage(
        host.path(session), "UPDATE agent_messages SET session_id = ?", session.openai_session_key
    )
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
    world: World, host: Host, tmp_path: Path
) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    damage(host.path(session), "CREATE TABLE kept (x)")
    await Host(world, tmp_path / "elsewhere").answer(session, "c", "d")
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


@ON_SQLITE
async def test_a_file_of_the_same_length_from_another_message_is_rebuilt(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    key = session.openai_session_key
    damage(host.path(session), "UPDATE agent_messages SET message_data = '{}'")
    damage(host.path(session), "UPDATE applied SET message_id = ?", str(uuid4()))
    assert stored_items(host.path(session), key) == [{}, {}]
    await host.heals(session)


@ON_SQLITE
async def test_a_crash_in_the_middle_of_the_append_leaves_nothing_of_it(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "hit", _crash)
        with pytest.raises(RuntimeError):
            await host.answer(session, "b", "c")
    assert stored_items(host.path(session), session.openai_session_key) == said("a")
    await host.answer(session, "d")
    await host.heals(session)


@ON_SQLITE
async def test_a_file_is_what_the_sdk_would_have_written(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a", "\u00e9\ud83d\ude00")
    await host.answer(session, "b")
    theirs = SQLiteSession(session.openai_session_key, host.folder / "theirs.db")
    await theirs.add_items(items("a", "\u00e9\ud83d\ude00", "b"))
    theirs.close()
    assert _dump(host.path(session)) == _dump(host.folder / "theirs.db")


def _dump(path: Path) -> list[Any]:
    """Read what the SDK stores of a conversation, but for the times."""
    with closing(sqlite3.connect(path)) as file:
        return [
            *file.execute("SELECT session_id FROM agent_sessions"),
            *file.execute("SELECT id, session_id, message_data FROM agent_messages"),
            *file.execute("SELECT sql FROM sqlite_master WHERE name LIKE 'agent_%'"),
        ]


@ON_SQLITE
async def test_a_prefix_that_ends_within_a_messages_items_is_rebuilt(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a", "b", "c")
    damage(host.path(session), "DELETE FROM agent_messages WHERE id = 3")
    await host.heals(session)


def _make_directory(path: Path) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


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
    "a foreign note": lambda path: damage(path, "ALTER TABLE applied RENAME message_id TO x"),
    "a note of garbage": lambda path: damage(path, "UPDATE applied SET message_id = 'x'"),
    "no note": lambda path: damage(path, "DELETE FROM applied"),
    "broken JSON": lambda path: damage(path, "UPDATE agent_messages SET message_data = '{' || id"),
    "binary items": lambda path: damage(path, "UPDATE agent_messages SET message_data = x'ff00'"),
    "another key": lambda path: damage(path, "UPDATE agent_messages SET session_id = 'x'"),
}


@ON_SQLITE
@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_a_broken_file_is_rebuilt(world: World, host: Host, breakage: str) -> None:
    session = await world.session()
    for number in range(3):
        await host.answer(session, "x" * 3000, str(number))
    BREAKAGES[breakage](host.path(session))
    await host.heals(session)


@ON_SQLITE
async def test_what_is_broken_deep_inside_is_rebuilt_when_something_is_appended(
    world: World, host: Host, tmp_path: Path
) -> None:
    session = await world.session()
    for number in range(20):
        await host.answer(session, "x" * 3000, str(number))
    path = host.path(session)
    page = path.stat().st_size // 4096 // 2 * 4096
    content = path.read_bytes()
    path.write_bytes(content[:page] + os.urandom(20_000) + content[page + 20_000 :])
    await Host(world, tmp_path / "elsewhere").answer(session, "last")
    await host.heals(session)


@ON_SQLITE
async def test_a_file_that_breaks_while_it_is_open_is_rebuilt_and_read_again(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    memory = await host.files.open(claim_of(await world.stored_session(session)))
    damage(host.path(session), "UPDATE agent_messages SET message_data = '{'")
    assert await memory.get_items() == said("a", "b")
    memory.close()
    await host.heals(session)


@ON_SQLITE
async def test_a_file_that_vanishes_while_it_is_open_is_rebuilt(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "a", "b")
    memory = await host.files.open(claim_of(await world.stored_session(session)))
    for path in host.folder.iterdir():
        path.unlink()
    assert await memory.get_items() == said("a", "b")
    memory.close()
    await host.heals(session)


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(); input()"
    command = [sys.executable, "-c", program, f"{path}.lock"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@ON_SQLITE
async def test_a_file_that_stays_locked_is_replaced_by_a_copy_in_memory(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    host.files.close_idle()
    with locked_by_another_process(host.path(session)), capture_logs() as logs:
        memory = await host.files.open(claim_of(await world.stored_session(session)))
        assert await memory.get_items() == said("a")
        await memory.sync_committed()
        memory.close()
    assert [log["event"] for log in logs] == [
        "memory file cannot be used, working in RAM",
        "memory file not written, it heals when it can",
    ]
    await host.heals(session)


@ON_SQLITE
async def test_a_lock_is_waited_for_without_holding_up_other_sessions(
    world: World, tmp_path: Path
) -> None:
    host = Host(world, tmp_path, lock_timeout_s=20)
    stuck = [await world.session() for _ in range(12)]  # more than there are threads
    free = await world.session()
    for session in stuck:
        await host.answer(session, "a")
    host.files.close_idle()
    locks = [open(f"{host.path(session)}.lock", "w") for session in stuck]  # noqa: ASYNC230, PTH123, SIM115
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    waiting = [asyncio.ensure_future(host.seen(session)) for session in stuck]
    await asyncio.sleep(0.1)
    assert not any(one.done() for one in waiting)
    async with asyncio.timeout(10):
        assert await host.seen(free) == []
        for lock in locks:
            lock.close()
        assert await asyncio.gather(*waiting) == [said("a")] * 12


async def test_an_opening_that_is_cancelled_leaves_no_lock_behind(
    world: World, tmp_path: Path
) -> None:
    host = Host(world, tmp_path)
    session = await world.session()
    await host.answer(session, "a")
    claim = claim_of(await world.stored_session(session))
    await host.heals(session)  # connected

    async def open_and_close() -> None:
        (await host.files.open(claim)).close()

    for delay in (0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.008):
        opening = asyncio.ensure_future(open_and_close())
        await asyncio.sleep(delay)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await host.heals(session)


@ON_SQLITE
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
async def test_on_a_full_disk_the_run_works_on_a_copy_in_memory(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder]).returncode:  # noqa: ASYNC221, PLW1510
        pytest.skip("may not mount")
    try:
        host = Host(world, folder)
        session = await world.session()
        await host.answer(session, "a" * 10_000)
        await Host(world, tmp_path / "elsewhere").answer(session, "b" * 400_000)
        with capture_logs() as logs:
            assert await host.seen(session) == await world.items(session)
        assert [log["event"] for log in logs] == ["memory file cannot be used, working in RAM"]
        subprocess.run(["mount", "-o", "remount,size=20m", folder], check=True)  # noqa: ASYNC221
        await host.heals(session)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: ASYNC221


@ON_SQLITE
async def test_a_folder_that_cannot_be_made_costs_only_the_file(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    host = Host(world, tmp_path / "taken" / "sessions")
    session = await world.session()
    await Host(world, tmp_path / "elsewhere").answer(session, "a")
    with capture_logs() as logs:
        assert await host.seen(session) == said("a")
    assert [log["log_level"] for log in logs] == ["warning"]


@ON_SQLITE
async def test_files_that_may_not_grow_cost_only_the_file(
    world: World, host: Host, tmp_path: Path
) -> None:
    session = await world.session()
    await Host(world, tmp_path / "elsewhere").answer(session, "a" * 200_000)
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
async def test_a_late_sync_does_not_bring_a_cleared_file_back(
    world: World, host: Host, before: list[str]
) -> None:
    session = await world.session()
    for text in before:
        await host.answer(session, text)
    claim = await world.claimed(session)
    memory = await host.files.open(claim)
    await world.complete(claim)
    await world.clear(session)
    await host.files.remove_stale()
    assert not host.path(session).exists()
    await memory.sync_committed()
    memory.close()
    assert not host.path(session).exists()
    with pytest.raises(LeaseLost) if before else nullcontext():
        late = await host.files.open(claim)
        late.close()
    if not before:  # an empty one may come back, for a while
        assert stored_items(host.path(session), session.openai_session_key) == []
        await host.files.remove_stale()
    assert not host.path(session).exists()


async def test_a_session_cleared_on_another_host_begins_empty_here(
    world: World, host: Host, tmp_path: Path
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    await world.clear(session)
    assert await host.seen(session) == []
    await Host(world, tmp_path / "elsewhere").answer(session, "new")
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
    await host.files.remove_stale()
    left = {path.name for path in host.folder.iterdir()}
    name = host.path(living).name
    beside = {f"{name}{suffix}" for suffix in (".lock", "-journal")}
    assert left - beside == {name, *foreign}
    assert files_in(host.folder) == [(living.id, 1)]


@ON_SQLITE
async def test_a_stale_file_that_is_locked_does_not_keep_the_others(
    world: World, host: Host
) -> None:
    sessions = sorted([await world.session() for _ in range(3)], key=lambda s: s.id)
    for session in sessions:
        await host.answer(session, "a")
        await world.clear(session)
    with locked_by_another_process(host.path(sessions[0])):
        await host.files.remove_stale()
        assert files_in(host.folder) == [(sessions[0].id, 1)]
    await host.files.remove_stale()
    assert list(host.folder.iterdir()) == []


@ON_SQLITE
async def test_hundreds_of_openings_leave_no_descriptor_behind(world: World, host: Host) -> None:
    sessions = [await world.session() for _ in range(3)]
    for session in sessions:
        await host.answer(session, "a")

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async def rounds(count: int) -> int:
        for _ in range(count):
            await asyncio.gather(*(host.seen(session) for session in sessions * 5))
        host.files.close_idle()
        return descriptors()

    before = await rounds(1)
    assert await rounds(20) <= before + 2


@ON_SQLITE
async def test_what_the_model_sees_is_read_from_the_file(world: World, host: Host) -> None:
    session = await world.session()
    await host.answer(session, "from the database")
    altered = json.dumps({"role": "user", "content": "from the file"})
    damage(host.path(session), "UPDATE agent_messages SET message_data = ?", altered)
    assert await host.seen(session) == said("from the file")


@ON_SQLITE
async def test_what_the_model_sees_comes_from_the_session_file(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    read: list[Path] = []
    get_items = FileSession.get_items

    async def spy(self: FileSession, limit: int | None = None) -> Any:
        read.append(Path(self.db_path))
        return await get_items(self, limit)

    monkeypatch.setattr(FileSession, "get_items", spy)
    await host.seen(session)
    assert read == [host.path(session)]


@ON_SQLITE
async def test_a_limit_gives_the_newest_items_with_those_of_the_run(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, *"abcde")
    memory = await host.files.open(claim_of(await world.stored_session(session)))
    assert await memory.get_items(2) == said("d", "e")
    assert await memory.get_items(9) == said(*"abcde")
    await memory.add_items(said("f"))  # type: ignore[arg-type]
    assert await memory.get_items(2) == said("e", "f")
    assert await memory.get_items() == said(*"abcdef")
    memory.close()


@ON_SQLITE
async def test_what_a_run_adds_is_in_no_file_and_can_be_taken_back(
    world: World, host: Host
) -> None:
    session = await world.session()
    await host.answer(session, "a")
    memory = await host.files.open(claim_of(await world.stored_session(session)))
    await memory.add_items(said("b", "c"))  # type: ignore[arg-type]
    assert await memory.pop_item() == said("c")[0]
    assert memory.added == said("b")
    await memory.clear_session()
    assert await memory.pop_item() is None
    assert await memory.get_items() == said("a")
    memory.close()
    assert stored_items(host.path(session), session.openai_session_key) == said("a")


_WRITER = """
import asyncio, json, sys
from pathlib import Path
from shared.database import Database
from shared.settings import Settings
from worker.memory.files import MemoryFiles
from shared.tables import VibeSession
from tests.shared.world import claim_of
from uuid import UUID

async def main() -> None:
    settings = Settings.model_validate_json(sys.argv[1])
    database = Database(settings, name="writer")
    files = MemoryFiles(database, Path(sys.argv[2]))
    for _ in range(15):
        async with database.read() as db:
            session = await db.get_one(VibeSession, UUID(sys.argv[3]))
        memory = await files.open(claim_of(session))
        items = await memory.get_items()
        assert len(items) >= session.item_count, (len(items), session.item_count)
        assert [item["content"] for item in items] == [str(n) for n in range(len(items))]
        memory.close()
    files.close()
    await database.close()

asyncio.run(main())
"""


@ON_POSTGRESQL
async def test_two_processes_on_the_same_file_never_read_anything_wrong(
    world: World, host: Host
) -> None:
    session = await world.session()
    settings = world.settings.model_dump_json(include={"database_url", "redis_url", "data_dir"})
    command = [sys.executable, "-c", _WRITER, settings, str(host.folder), str(session.id)]
    processes = [
        await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for number in range(20):
        await host.answer(session, str(2 * number), str(2 * number + 1))
        if number % 9 == 5:
            BREAKAGES["truncated" if number % 2 else "garbage"](host.path(session))
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    await host.heals(session)


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
        memory = await host.files.open(claim)
        self.text += 1
        texts = [f"{self.text}.{n}" for n in range(self.random.choice([0, 1, 2, 2, 5]))]
        crash = self.random.choice(["", "", "run", "sync", "append", "middle"])
        await memory.add_items(items(*texts))
        if crash == "run":
            await self.world.fail(claim)
        else:
            await self.world.complete(claim, items=said(*texts))
        with pytest.MonkeyPatch.context() as patch:
            if crash == "append":
                patch.setattr(FileHandle, "add", _crash)
            if crash == "middle":
                patch.setattr(failpoints, "hit", _crash)
            if crash not in {"run", "sync"}:
                with suppress(RuntimeError):
                    await memory.sync_committed()
        memory.close()

    async def lose(self, host: Host, session: VibeSession) -> None:
        """Damage a host's file, or put an older one in its place."""
        generation = (await self.world.stored_session(session)).generation
        path = host.path(session, generation)
        old = path.with_name("old")
        match self.random.choice(["keep", "restore", "break"]):
            case "keep" if path.exists():
                old.write_bytes(path.read_bytes())
            case "restore" if old.exists():
                path.write_bytes(old.read_bytes())
            case "break" if path.exists():
                breakage = self.random.choice(["garbage", "empty", "truncated", "missing"])
                BREAKAGES[breakage](path)

    async def clear(self, host: Host, session: VibeSession) -> None:
        await self.world.clear(session)
        if self.random.random() < 0.5:
            await host.files.remove_stale()


def _crash(*_: Any) -> Any:
    raise RuntimeError("crashed here")


@ON_SQLITE
@pytest.mark.parametrize("seed", range(6))
async def test_through_any_crashes_on_any_hosts_the_memory_is_the_databases(
    world: World, tmp_path: Path, seed: int
) -> None:
    with capture_logs():
        await Simulation(world, tmp_path, seed).run(await world.session(), steps=25)
