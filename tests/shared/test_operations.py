"""What an operator is told: of the last hour, and of now."""

from uuid import UUID

from shared.dialects import clock
from shared.store import operations
from shared.store.operations import LATENCIES_S, Ended, Queue
from shared.tables import Message
from tests.shared.world import OWNER, World


async def queue(world: World, owner: str | None = None) -> Queue:
    async with world.database.read() as db:
        return await operations.queue(db, owner=owner)


async def ended(world: World, owner: str | None = None) -> list[Ended]:
    async with world.database.read() as db:
        found = await operations.ended(db, owner=owner)
    return sorted(found, key=lambda each: (each.minute, each.status, each.latency))


async def move(world: World, message_id: UUID, *, ago_s: float, took_s: float = 1) -> None:
    """Let a message have ended so long ago, so long after it was accepted."""
    times = {"ended_at": clock() - ago_s, "created_at": clock() - ago_s - took_s}
    await world.change(Message, message_id, **times)


async def test_what_waits_and_runs_is_counted(world: World) -> None:
    assert await queue(world) == Queue(0, 0, None)
    await world.claimed()
    session = await world.session()
    first = (await world.accept(session)).message
    await world.accept(session)
    await world.change(Message, first.id, queued_at=clock() - 30)
    found = await queue(world)
    assert (found.queued, found.running) == (2, 1)
    assert found.oldest_s is not None
    assert 30 <= found.oldest_s < 40


async def test_what_ended_is_counted_by_minute_outcome_and_latency(world: World) -> None:
    for ago_s in (10, 20, 70, 3590, 3610):
        await move(world, (await world.answer(await world.session())).message_id, ago_s=ago_s)
    failed = await world.claimed()
    await world.fail(failed)
    await move(world, failed.message_id, ago_s=90, took_s=1e6)
    found = await ended(world)
    counts = [(each.minute, each.status, each.messages) for each in found]
    assert counts == [
        (0, "completed", 2),
        (1, "completed", 1),
        (1, "failed", 1),
        (59, "completed", 1),
    ]
    of_a_second = found[0].latency
    assert LATENCIES_S[of_a_second - 1] < 1 < LATENCIES_S[of_a_second]
    assert found[2].latency == len(LATENCIES_S)


async def test_failures_are_counted_by_code_and_the_last_comes_first(world: World) -> None:
    for ago_s in (30, 10, 20, 3700):
        claim = await world.claimed(prompt=str(ago_s))
        await world.fail(claim)
        await move(world, claim.message_id, ago_s=ago_s)
    cancelled = await world.claimed()
    await world.cancel(cancelled.message_id)
    async with world.database.read() as db:
        assert await operations.failures(db, owner=None) == {"model_error": 3}
        last = await operations.last_failures(db, owner=OWNER)
    assert [message.content for message in last] == ["10", "20", "30"]


async def test_nobody_hears_of_what_is_others_or_deleted(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    await world.answer(session)
    await world.accept(session)
    assert (await queue(world, OWNER)).queued == len(await ended(world, OWNER)) == 1
    assert await queue(world, "somebody else") == Queue(0, 0, None)
    assert await ended(world, "somebody else") == []
    await world.delete(project)
    assert await queue(world) == Queue(0, 0, None)
    assert await ended(world) == []


async def test_only_workers_with_a_lease_are_listed(world: World) -> None:
    alive = await world.worker(slots=7)
    await world.worker(lease_s=-1)
    async with world.database.read() as db:
        assert [worker.id for worker in await operations.workers(db)] == [alive]
