"""The lease and the runs that it covers: renewed from a thread, compared on each beat."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from uuid import uuid4

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from shared.dialects import sync_engine
from shared.settings import Settings
from shared.store import workers
from shared.store.transitions import Claim, LeaseLost
from shared.tables import VibeSession, Worker
from tests.shared.world import World, claim_of
from worker.heartbeat import Heartbeat, this_process
from worker.runs import Released, RunCancelledItself, RunKey, Runs, StopReason

CATCH_UP_S = 0.4
"""A little longer than a heartbeat lets a late loop catch up."""


class Beating:
    """A heartbeat whose beats a test makes itself, and what it asked to be released."""

    def __init__(self, settings: Settings) -> None:
        self.runs = Runs()
        self.process = this_process(settings)
        self.released: list[RunKey] = []
        self.heartbeat = Heartbeat(
            settings,
            self.process,
            self.runs,
            loop=asyncio.get_running_loop(),
            release=self.note,
        )
        self.heartbeat.register()

    def note(self, strays: Iterable[RunKey]) -> None:
        self.released += strays

    async def beat(self) -> None:
        await asyncio.to_thread(self.heartbeat.beat)
        await asyncio.sleep(0)


@pytest.fixture
async def beating(settings: Settings) -> AsyncIterator[Beating]:
    beating = Beating(settings)
    yield beating
    beating.heartbeat._engine.dispose()


async def claimed(world: World, beating: Beating) -> Claim:
    message = (await world.accept(await world.session())).message
    return await world.claim(message, beating.process.worker_id)


async def test_a_run_whose_message_was_taken_away_is_stopped(
    world: World, beating: Beating
) -> None:
    kept, taken = await claimed(world, beating), await claimed(world, beating)
    runs = [asyncio.ensure_future(beating.runs.run(c, asyncio.sleep(20))) for c in (kept, taken)]
    await asyncio.sleep(0)
    await beating.beat()
    assert not any(run.done() for run in runs)
    await world.cancel(taken.message_id)
    await beating.beat()
    with pytest.raises(LeaseLost):
        await runs[1]
    assert not runs[0].done()
    runs[0].cancel()
    await asyncio.gather(runs[0], return_exceptions=True)


async def test_a_claim_that_nobody_runs_is_released_after_two_beats_not_one(
    world: World, beating: Beating
) -> None:
    claim = await claimed(world, beating)
    await beating.beat()
    await asyncio.sleep(CATCH_UP_S)
    assert beating.released == []
    await beating.beat()
    await asyncio.sleep(CATCH_UP_S)
    assert beating.released == [(claim.message_id, 1)]


async def test_a_claim_that_is_run_by_the_second_beat_is_no_stray(
    world: World, beating: Beating
) -> None:
    claim = await claimed(world, beating)
    await beating.beat()
    run = asyncio.ensure_future(beating.runs.run(claim, asyncio.sleep(20)))
    await asyncio.sleep(0)
    await beating.beat()
    await asyncio.sleep(CATCH_UP_S)
    assert beating.released == []
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_claim_of_which_a_blocked_loop_took_note_late_is_no_stray(
    world: World, beating: Beating
) -> None:
    claim = await claimed(world, beating)
    await beating.beat()
    await beating.beat()
    run = asyncio.ensure_future(beating.runs.run(claim, asyncio.sleep(20)))
    await asyncio.sleep(CATCH_UP_S)
    assert beating.released == []
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_worker_that_was_swept_away_registers_again(world: World, beating: Beating) -> None:
    async with world.database.begin() as db:
        await db.execute(delete(Worker))
    await beating.beat()
    async with world.database.read() as db:
        assert await workers.alive(db) == (1, beating.process.slots)


async def test_the_lease_is_renewed_while_the_loop_is_blocked(
    world: World, settings: Settings
) -> None:
    beating = Beating(settings.model_copy(update={"heartbeat_s": 0.1, "lease_s": 1.0}))
    beating.heartbeat.start()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        pass  # a busy loop, in Python: it shares the interpreter with the thread
    async with world.database.read() as db:
        assert (await workers.alive(db))[0] == 1
    await asyncio.to_thread(beating.heartbeat.retire)
    assert await world.count(Worker) == 0


async def test_a_database_that_is_away_is_told_once_and_waited_for(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    beating = Beating(settings.model_copy(update={"heartbeat_s": 0.02}))
    nowhere = Settings(
        database_url="postgresql://postgres@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0"
    )
    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(beating.heartbeat, "_engine", sync_engine(nowhere, name="t"))
            beating.heartbeat.start()
            await asyncio.sleep(0.5)
        await world.renew(beating.process.worker_id, lease_s=-1)
        await asyncio.sleep(0.5)
    async with world.database.read() as db:
        assert (await workers.alive(db))[0] == 1
    assert [log["log_level"] for log in logs] == ["warning"]
    await asyncio.to_thread(beating.heartbeat.retire)


@pytest.fixture
def claim() -> Claim:
    return claim_of(VibeSession(id=uuid4(), project_id=uuid4(), generation=1))


async def test_a_run_gives_what_its_work_gives(claim: Claim) -> None:
    runs = Runs()
    assert await runs.run(claim, asyncio.sleep(0, "done")) == "done"
    assert runs.keys() == {(claim.message_id, 1)}, "until its end is in the database"
    runs.forget(claim)
    assert runs.keys() == frozenset()


@pytest.mark.parametrize(
    ("reason", "raised"), [(StopReason.LOST, LeaseLost), (StopReason.RELEASED, Released)]
)
async def test_a_stopped_run_says_why(
    claim: Claim, reason: StopReason, raised: type[Exception]
) -> None:
    runs = Runs()
    run = asyncio.ensure_future(runs.run(claim, asyncio.sleep(20)))
    await asyncio.sleep(0)
    runs.stop(runs.keys(), reason)
    with pytest.raises(raised):
        await run


async def test_a_run_that_has_ended_is_not_stopped(claim: Claim) -> None:
    runs = Runs()
    assert await runs.run(claim, asyncio.sleep(0, "done")) == "done"
    runs.stop(runs.keys(), StopReason.LOST)
    runs.forget(claim)
    assert runs._reasons == {}


async def test_a_run_that_cancels_itself_is_an_error(claim: Claim) -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RunCancelledItself):
        await Runs().run(claim, give_up())


async def test_cancelling_who_waits_for_a_run_cancels_the_run(claim: Claim) -> None:
    runs = Runs()
    waiting = asyncio.ensure_future(runs.run(claim, asyncio.sleep(20)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert runs._tasks[(claim.message_id, 1)].cancelled()
