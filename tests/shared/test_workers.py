"""Leases: registered, renewed, and what a beat says of the messages that they cover."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from shared.dialects import sync_engine
from shared.settings import Settings
from shared.store import workers
from shared.store.workers import Process
from shared.tables import Worker
from tests.shared.world import World


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = sync_engine(settings, name="beat")
    yield engine
    engine.dispose()


def a_process() -> Process:
    return Process(worker_id=uuid4(), host="h", pid=1, version="0", slots=7)


def beat(engine: Engine, process: Process, lease_s: float = 6) -> frozenset[tuple[UUID, int]]:
    with engine.begin() as db:
        return workers.beat(db, process, lease_s=lease_s, running=2)


async def alive(world: World) -> tuple[int, int]:
    async with world.database.read() as db:
        return await workers.alive(db)


async def test_a_beat_renews_the_lease_even_one_that_is_over(world: World, engine: Engine) -> None:
    process = a_process()
    with engine.begin() as db:
        workers.register(db, process, lease_s=-1)
    assert await alive(world) == (0, 0)
    assert beat(engine, process) == frozenset()
    assert await alive(world) == (1, 7)


async def test_a_worker_that_was_swept_away_registers_again(world: World, engine: Engine) -> None:
    process = a_process()
    beat(engine, process)
    async with world.database.begin() as db:
        await workers.end_all_leases(db)
    beat(engine, process)
    assert await alive(world) == (1, 7)


async def test_a_beat_names_the_attempts_that_run_under_the_lease(
    world: World, engine: Engine
) -> None:
    process = a_process()
    beat(engine, process)
    message = (await world.accept(await world.session())).message
    await world.accept(await world.session())
    await world.claimed()  # another worker's
    claim = await world.claim(message, process.worker_id)
    assert beat(engine, process) == {(message.id, 1)}
    again = await world.run_again(claim)
    assert beat(engine, process) == {(message.id, 2)}
    await world.complete(again)
    assert beat(engine, process) == frozenset()


async def test_a_retired_worker_is_gone_at_once(world: World, engine: Engine) -> None:
    process = a_process()
    beat(engine, process)
    with engine.begin() as db:
        workers.retire(db, process.worker_id)
    assert await world.count(Worker) == 0


async def test_dead_workers_are_forgotten_once_they_hold_nothing(world: World) -> None:
    dead, holding, living = [await world.worker(lease_s=s) for s in (-100, -100, 10)]
    message = (await world.accept(await world.session())).message
    await world.claim(message, holding)
    async with world.database.begin() as db:
        await workers.forget_dead(db, dead_for_s=60)
    async with world.database.read() as db:
        assert await db.get(Worker, dead) is None
        assert await db.get(Worker, holding) is not None
        assert await db.get(Worker, living) is not None
