"""Session files that stay open between messages."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from agents import SQLiteSession

from shared.tables import VibeSession
from tests.shared.world import ON_SQLITE, World, claim_of, said
from tests.worker.test_memory import Host
from worker.memory.cache import OpenFiles
from worker.memory.file import MemoryFile


def files(folder: Path) -> OpenFiles:
    folder.mkdir(exist_ok=True)
    return OpenFiles(folder, most=2)


def opened(files: OpenFiles, session: VibeSession) -> MemoryFile:
    file = files.take(claim_of(session))
    file.write([], None, anew=True)
    return file


@ON_SQLITE
async def test_a_file_comes_back_open(world: World, tmp_path: Path) -> None:
    kept, session = files(tmp_path / "host"), await world.session()
    file = opened(kept, session)
    kept.give_back(file)
    assert file.is_open
    assert kept.take(claim_of(session)) is file
    file.close()


@ON_SQLITE
async def test_one_that_is_in_use_is_not_given_to_another(world: World, tmp_path: Path) -> None:
    kept, session = files(tmp_path / "host"), await world.session()
    first, second = opened(kept, session), opened(kept, session)
    assert first is not second
    kept.give_back(first)
    kept.give_back(second)
    assert [first.is_open, second.is_open] == [False, True], "one stays"
    kept.close()


@ON_SQLITE
async def test_the_longest_unused_is_closed(world: World, tmp_path: Path) -> None:
    kept, sessions = files(tmp_path / "host"), [await world.session() for _ in range(3)]
    taken = [opened(kept, session) for session in sessions]
    for file in taken:
        kept.give_back(file)
    assert [file.is_open for file in taken] == [False, True, True]
    kept.close()
    assert not any(file.is_open for file in taken)


@ON_SQLITE
async def test_one_that_another_process_wrote_is_read_anew(world: World, tmp_path: Path) -> None:
    here, there = Host(world, tmp_path / "host"), Host(world, tmp_path / "host")
    session = await world.session()
    for number in range(4):
        await (here, there)[number % 2].answer(session, str(number))
        assert await here.seen(session) == await there.seen(session) == await world.items(session)


@ON_SQLITE
async def test_one_that_was_replaced_is_read_anew(world: World, tmp_path: Path) -> None:
    host, session = Host(world, tmp_path / "host"), await world.session()
    await host.answer(session, "a")
    old = host.path(session).read_bytes()
    await host.answer(session, "b")
    host.path(session).write_bytes(old)
    await host.answer(session, "c")
    assert await host.seen(session) == said("a", "b", "c")


@ON_SQLITE
@pytest.mark.parametrize("stays", [False, True])
async def test_one_that_somebody_opens_with_the_sdk_itself_goes_on(
    world: World, tmp_path: Path, stays: bool
) -> None:
    host, session = Host(world, tmp_path / "host"), await world.session()
    await host.answer(session, "a")
    with closing(SQLiteSession(session.openai_session_key, host.path(session))) as other:
        assert await other.get_items() == said("a")  # it writes a log beside the file from now on
        if stays:
            await host.answer(session, "b")
    await host.answer(session, "c")
    assert await host.seen(session) == await world.items(session)
    assert (await world.items(session))[-1:] == said("c")


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@ON_SQLITE
async def test_threads_that_read_a_file_do_not_each_keep_it_open(
    world: World, tmp_path: Path
) -> None:
    threads = ThreadPoolExecutor(32)  # as many as there are on a large host
    asyncio.get_running_loop().set_default_executor(threads)
    everybody = threading.Barrier(32)
    await asyncio.gather(*(asyncio.to_thread(everybody.wait) for _ in range(32)))
    host, session = Host(world, tmp_path / "host"), await world.session()
    await host.answer(session, "a")
    await host.seen(session)
    before = open_descriptors()
    for _ in range(80):
        await host.seen(session)
    assert open_descriptors() == before


@ON_SQLITE
async def test_a_run_leaves_its_file_to_others_while_the_model_works(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.memory.files._OPEN_FILES", 2)
    host, sessions = Host(world, tmp_path / "host"), [await world.session() for _ in range(6)]
    for session in sessions:
        await host.answer(session, "a")
    host.files.close_idle()
    claims = [claim_of(await world.stored_session(session)) for session in sessions]
    before = open_descriptors()
    memories = [await host.files.open(claim) for claim in claims]
    for memory in memories:
        assert [dict(item) for item in await memory.get_items()] == said("a")
    held = open_descriptors() - before
    again = [dict(item) for item in await memories[0].get_items()]
    for memory in memories:
        memory.close()
    assert again == said("a"), "it is taken again when it is wanted"
    assert held == 2, "each open file has one descriptor"
