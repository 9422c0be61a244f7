"""What model calls cost: every attempt's, by day and model, for messages, sessions and projects."""

from typing import Any

from sqlalchemy import select

from shared.store import records, usage
from shared.store.records import DAY_S
from shared.store.transitions import Claim
from shared.store.usage import Usage
from shared.tables import ModelCall
from tests.shared.world import Spent, World, outcome

TOKENS = {
    "input_tokens": 10,
    "output_tokens": 4,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}


def spent(number: int = 1, *, model: str = "m", day: int = 0, **values: Any) -> Spent:
    made: dict[str, Any] = {"usage": TOKENS, "ended_at": day * DAY_S + 1.0} | values
    return Spent(number, model, **made)


def sums(
    calls: int, *, model: str = "m", day: int = 0, uncounted: int = 0, unreported: int = 0
) -> Usage:
    n = calls - uncounted
    tokens = (10 * n, 3 * n, 4 * n, 2 * n)
    return Usage(day, model, calls, uncounted, *tokens, unreported_calls=unreported)


async def record(world: World, claim: Claim, *calls: Spent) -> None:
    async with world.database.begin() as db:
        await records.record_calls(db, (claim, calls))


async def of_message(world: World, claim: Claim) -> list[Usage]:
    async with world.database.read() as db:
        return await usage.of_message(db, claim.message_id)


async def of_project(world: World, claim: Claim, **options: Any) -> list[Usage]:
    async with world.database.read() as db:
        return await usage.of_project(db, claim.project_id, **options)


async def of_session(world: World, claim: Claim, **options: Any) -> list[Usage]:
    async with world.database.read() as db:
        return await usage.of_session(db, claim.session_id, **options)


async def test_calls_are_summed_for_their_message_session_and_project(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    one = await world.claimed(session)
    await record(world, one, spent(1), spent(2))
    await world.complete(one)  # records a call of a server that said no tokens
    two = await world.claimed(session)
    await record(world, two, spent(1))
    other = await world.claimed(await world.session(project))
    await record(world, other, spent(1))
    elsewhere = await world.claimed()
    await record(world, elsewhere, spent(1))
    assert await of_message(world, one) == [sums(2)]
    assert await of_session(world, one) == [sums(3)]
    assert await of_project(world, one) == [sums(4)]
    assert await of_message(world, await world.claimed()) == []


async def test_calls_of_lost_released_and_failed_attempts_count(world: World) -> None:
    session = await world.session()
    dead = await world.worker()
    accepted = (await world.accept(session)).message
    lost = await world.claim(accepted, dead)
    await record(world, lost, spent(1))
    await world.renew(dead, lease_s=-1)
    released = await world.claim(accepted)
    await record(world, released, spent(1))
    await world.release(released)
    failed = await world.claim(accepted)
    await record(world, failed, spent(1), spent(2, usage=None, error="500 InternalServerError"))
    await world.fail(failed)
    assert await of_message(world, failed) == [sums(4, uncounted=1)]
    await world.clear(session)
    assert await of_session(world, failed) == [sums(4, uncounted=1)], "also after a clear"


async def test_sums_are_by_day_and_model_and_of_the_days_that_are_asked_for(world: World) -> None:
    claim = await world.claimed()
    await record(
        world,
        claim,
        spent(1, day=20_000),
        spent(2, day=20_001),
        spent(3, day=20_001, model="a"),
        spent(4, day=20_001),
        spent(5, day=20_002),
    )
    first, second, third, fourth = await of_project(world, claim)
    assert first == sums(1, day=20_000)
    assert (second, third) == (sums(1, day=20_001, model="a"), sums(2, day=20_001))
    assert await of_project(world, claim, days=(20_001, 20_001)) == [second, third]
    assert await of_project(world, claim, days=(20_002, 30_000)) == [fourth]


async def test_a_day_is_one_of_utc(world: World) -> None:
    claim = await world.claimed()
    await record(world, claim, spent(1, ended_at=DAY_S - 0.1), spent(2, ended_at=float(DAY_S)))
    assert [part.day for part in await of_project(world, claim)] == [0, 1]


async def test_one_attempt_can_be_left_out(world: World) -> None:
    session = await world.session()
    one, two = await world.claimed(session), await world.claimed(await world.session())
    await record(world, one, spent(1))
    own = (one.message_id, one.attempt)
    assert await of_session(world, one, but=own) == []
    assert await of_session(world, one, but=(one.message_id, 2)) == [sums(1)]
    assert await of_project(world, one, but=(two.message_id, 1)) == [sums(1)]


async def test_what_no_server_should_say_of_tokens_does_not_break_a_message(world: World) -> None:
    claim = await world.claimed()
    odd = [10**30, -1, 1.5, "7", None, [], True]
    calls = [spent(n, usage={"input_tokens": said}) for n, said in enumerate(odd, 1)]
    await record(world, claim, *calls)
    (found,) = await of_message(world, claim)
    assert (found.calls, found.input_tokens, found.output_tokens) == (len(odd), 0, 0)


async def test_a_call_that_is_recorded_twice_counts_once(world: World) -> None:
    claim = await world.claimed()
    await record(world, claim, spent(1))
    await record(world, claim, spent(1), spent(2))
    assert await of_message(world, claim) == [sums(2)]


async def test_a_completed_attempt_counts_for_its_project(world: World) -> None:
    claim = await world.claimed()
    await world.complete(claim, outcome(claim))
    async with world.database.read() as db:
        row = (await db.scalars(select(ModelCall))).one()
    assert (row.project_id, row.day, row.input_tokens) == (claim.project_id, 0, None)
    expected = sums(1, model="scripted", uncounted=1, unreported=1)
    assert await of_project(world, claim) == [expected]
