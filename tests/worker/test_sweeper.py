"""The sweep: hints within the workers' room, ends what is overdue, tidies up, survives outages."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from shared.dialects import clock
from shared.store.transitions import Ended
from shared.tables import Message, Project, VibeSession, Worker
from tests.shared.world import World
from worker.maintenance import Sweeper
from worker.memory.session import Memories


class Broker:
    """What the sweeper knows of the broker: how long its queue is, and what was sent to it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.hinted: list[UUID] = []
        self.announced: list[Ended] = []
        self.away = False
        self.asked = 0
        self.silent: asyncio.Event | None = None

    async def length(self) -> int:
        self.asked += 1
        if self.silent is not None:
            await self.silent.wait()
        if self.away:
            raise RuntimeError("whatever the client raises")
        return self.waiting

    def enqueue_message(self, message_id: UUID) -> None:
        self.hinted.append(message_id)

    async def announce(self, ended: Ended) -> None:
        self.announced.append(ended)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def memories(world: World, tmp_path: Path) -> Memories:
    memories = Memories(world.database, tmp_path / "sessions")
    world.exits.callback(memories.close)
    return memories


@pytest.fixture
def sweeper(world: World, broker: Broker, memories: Memories) -> Sweeper:
    return Sweeper(world.settings, world.database, broker, broker, memories)  # type: ignore[arg-type]


async def backlog(world: World, count: int, *, hinted_s_ago: float | None) -> list[UUID]:
    """Have messages waiting in as many sessions, a part of them in each of two projects."""
    made = [await world.project(), await world.project()]
    sessions = [await world.session(made[n % 2]) for n in range(count)]
    ids = [(await world.accept(session)).message.id for session in sessions]
    enqueued_at = None if hinted_s_ago is None else clock() - hinted_s_ago
    async with world.database.begin() as db:
        await db.execute(update(Message).values(enqueued_at=enqueued_at))
    return ids


async def test_a_lost_hint_is_sent_again_after_a_beat_when_the_broker_is_empty(
    world: World, sweeper: Sweeper, broker: Broker
) -> None:
    await world.worker()
    (message_id,) = await backlog(world, 1, hinted_s_ago=2)
    broker.waiting = 1
    await sweeper.sweep()
    assert broker.hinted == []
    broker.waiting = 0
    await sweeper.sweep()
    assert broker.hinted == [message_id]
    await sweeper.sweep()
    assert broker.hinted == [message_id]


@pytest.mark.parametrize("hinted_s_ago", [100, None])
async def test_no_more_is_hinted_than_the_living_workers_have_room_for(
    world: World, sweeper: Sweeper, broker: Broker, hinted_s_ago: float | None
) -> None:
    await world.worker(slots=3)
    await world.worker(slots=50, lease_s=-1)
    ids = await backlog(world, 12, hinted_s_ago=hinted_s_ago)
    broker.waiting = 2
    await sweeper.sweep()
    assert len(broker.hinted) == 4
    assert set(broker.hinted) == set(ids[:4]), "the oldest of each project"
    broker.waiting = 6
    await sweeper.sweep()
    assert len(broker.hinted) == 4


async def test_without_workers_nothing_is_hinted(
    world: World, sweeper: Sweeper, broker: Broker
) -> None:
    await backlog(world, 2, hinted_s_ago=None)
    await sweeper.sweep()
    assert broker.hinted == []


async def test_a_backlog_makes_no_storm_of_hints(
    world: World, sweeper: Sweeper, broker: Broker
) -> None:
    await world.worker(slots=2)
    await backlog(world, 30, hinted_s_ago=None)
    for _ in range(10):
        await sweeper.sweep()
        broker.waiting = len(broker.hinted)  # nobody takes them
    assert len(broker.hinted) == 4


async def test_what_a_lost_worker_ran_is_hinted(
    world: World, sweeper: Sweeper, broker: Broker
) -> None:
    dead = await world.worker()
    message = (await world.accept(await world.session())).message
    await world.claim(message, dead)
    await world.worker()
    await sweeper.sweep()
    assert broker.hinted == []
    await world.renew(dead, lease_s=-0.1)
    await sweeper.sweep()
    assert broker.hinted == [message.id]


async def test_what_waited_too_long_ends_also_while_the_broker_is_away(
    world: World, sweeper: Sweeper, broker: Broker
) -> None:
    message = (await world.accept(await world.session())).message
    old = clock() - world.settings.queue_timeout_s - 1
    await world.change(Message, message.id, queued_at=old)
    broker.away = True
    with capture_logs() as logs:
        await sweeper.sweep()
        await sweeper.sweep()
    assert broker.announced == [Ended(ids=(message.id,))]
    assert [log["event"] for log in logs] == ["sweep: the broker is away"], "said once"


async def test_a_silent_broker_is_asked_once_and_holds_nothing_up(
    world: World, sweeper: Sweeper, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.maintenance._BROKER_S", 0.05)
    await world.worker()
    (message_id,) = await backlog(world, 1, hinted_s_ago=None)
    broker.silent = asyncio.Event()
    for _ in range(3):
        await sweeper.sweep()
    assert (broker.asked, broker.hinted) == (1, [])
    broker.silent.set()
    await sweeper.sweep()
    assert broker.hinted == [message_id]


async def test_housekeeping_purges_deleted_projects_dead_workers_and_stale_files(
    world: World, sweeper: Sweeper, memories: Memories, tmp_path: Path
) -> None:
    project = await world.project()
    session = await world.session(project)
    claim = await world.claimed(session)
    memory = await memories.open(claim)
    await world.complete(claim)
    await memory.sync_committed()
    await world.delete(project)
    await world.change(Project, project.id, deleted_at=clock() - 2 * world.settings.run_limit_s - 1)
    async with world.database.begin() as db:
        await db.execute(update(Worker).values(lease_expires_at=clock() - 4000))
    sweeper._housekeeping_at = 0
    await sweeper.sweep()
    assert [await world.count(table) for table in (Project, VibeSession, Worker)] == [0, 0, 0]
    assert list((tmp_path / "sessions" / "1").iterdir()) == []


async def test_a_sweep_that_fails_is_told_and_the_next_one_comes(
    world: World, broker: Broker, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.settings.model_copy(update={"sweep_s": 0.01})
    sweeper = Sweeper(settings, world.database, broker, broker, memories)  # type: ignore[arg-type]
    errors: list[type[Exception]] = [RuntimeError, OSError]
    third = asyncio.Event()

    async def sweep() -> None:
        if errors:
            raise errors.pop()
        third.set()

    monkeypatch.setattr(sweeper, "sweep", sweep)
    with capture_logs() as logs:
        running = asyncio.ensure_future(sweeper.run())
        await asyncio.wait_for(third.wait(), 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [log["log_level"] for log in logs] == ["info", "error"]
