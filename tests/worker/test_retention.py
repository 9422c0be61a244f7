"""The deletion of old sessions: in small steps, told in one line, the files on every disk too."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.database import Database
from shared.store import dispatch
from shared.tables import VibeSession
from tests.shared.test_retention import age
from tests.shared.world import ON_POSTGRESQL, World
from worker.maintenance import Retention
from worker.memory.session import Memories


@pytest.fixture
def retention(world: World) -> Retention:
    return Retention(world.database, days=30, namespace="t")


async def test_one_line_says_what_was_deleted(
    world: World, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.maintenance._SESSIONS_AT_ONCE", 2)
    project = await world.project()
    sessions = [await world.session(project) for _ in range(5)]
    for days, session in enumerate(sessions, 40):
        await world.answer(session)
        await age(world, session, days=days)
    kept = await world.session(project)
    with capture_logs() as logs:
        await retention.delete_old()
        await retention.delete_old()
    assert await world.count(VibeSession) == 1
    assert (await world.stored_session(kept)).id == kept.id
    (line,) = logs
    assert line == {
        "event": "deleted old sessions",
        "log_level": "info",
        "sessions": 5,
        "messages": 5,
        "items": 10,
        "unused_for_days": 30,
        "oldest_days": 44.0,
    }


async def test_the_files_of_deleted_sessions_are_removed_on_every_host(
    world: World, retention: Retention, tmp_path: Path
) -> None:
    session = await world.session()
    folders = [tmp_path / "one", tmp_path / "two"]
    hosts = [Memories(world.database, folder) for folder in folders]
    claim = await world.claimed(session)
    opened = [await host.open(claim) for host in hosts]
    await world.complete(claim)
    for memory in opened:
        await memory.sync_committed()
    await age(world, session, days=31)
    await retention.delete_old()
    for host, folder in zip(hosts, folders, strict=True):
        assert list((folder / "1").iterdir()) != []
        await host.remove_stale()
        assert list((folder / "1").iterdir()) == []
        host.close()


async def test_it_deletes_at_once_and_survives_what_goes_wrong(
    retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.maintenance._RETENTION_S", 0)
    errors: list[type[Exception]] = [RuntimeError, OSError]
    third = asyncio.Event()

    async def delete_old() -> None:
        if errors:
            raise errors.pop()
        third.set()

    monkeypatch.setattr(retention, "delete_old", delete_old)
    with capture_logs() as logs:
        running = asyncio.ensure_future(retention.run())
        await asyncio.wait_for(third.wait(), 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [log["log_level"] for log in logs] == ["info", "error"]


@ON_POSTGRESQL
async def test_only_one_worker_deletes_at_a_time(world: World, retention: Retention) -> None:
    session = await world.session()
    await age(world, session, days=31)
    other = Database(world.settings, name="other")
    async with other.begin() as db:
        assert await dispatch.lead(db, "t retention")
        await retention.delete_old()
        assert await world.count(VibeSession) == 1
    await retention.delete_old()
    assert await world.count(VibeSession) == 0
    await other.close()
