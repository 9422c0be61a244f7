"""Commit 2: who may answer a message, and what ends with it when its worker is gone."""

import asyncio

import pytest

from shared.database import Database
from shared.dialects import clock
from shared.store.transitions import Claim, Ended
from shared.tables import Attempt, Message
from tests.shared.world import World


@pytest.mark.parametrize("claimers", [2, 10])
async def test_of_many_that_claim_at_once_one_wins(world: World, claimers: int) -> None:
    message = (await world.accept(await world.session())).message
    workers = [await world.worker() for _ in range(claimers)]
    databases = [Database(world.settings, name=f"w{n}") for n in range(claimers)]
    claimed = await asyncio.gather(
        *(
            World(database, world.settings).try_claim(message.id, worker)
            for database, worker in zip(databases, workers, strict=True)
        )
    )
    winners = [claim for claim in claimed if claim is not None]
    assert len(winners) == 1
    assert await world.count(Attempt) == 1
    for database in databases:
        await database.close()


async def test_a_claim_holds_all_that_an_attempt_needs(world: World) -> None:
    project = await world.project("a = 1\n")
    session = await world.session(project, node_id="triage")
    claim = await world.claimed(session, "hello")
    assert (claim.attempt, claim.prompt, claim.node_id) == (1, "hello", "triage")
    assert (claim.code, claim.revision, claim.generation) == ("a = 1\n", 1, 1)
    assert claim.openai_session_key == f"project_{project.id}_node_triage"
    stored = await world.message(claim.message_id)
    assert (stored.status, stored.enqueued_at) == ("in_progress", None)
    assert stored.claimed_at is not None


async def test_only_the_head_can_be_claimed(world: World) -> None:
    session, worker = await world.session(), await world.worker()
    first = (await world.accept(session)).message
    second = (await world.accept(session)).message
    assert await world.try_claim(second.id, worker) is None
    await world.complete(await world.claim(first))
    assert isinstance(await world.try_claim(second.id, worker), Claim)


async def test_a_doubled_and_a_late_hint_claim_nothing(world: World) -> None:
    worker = await world.worker()
    claim = await world.claimed(await world.session())
    assert await world.try_claim(claim.message_id, worker) is None
    await world.complete(claim)
    assert await world.try_claim(claim.message_id, worker) is None
    assert await world.try_claim(claim.session_id, worker) is None  # no message at all


async def test_a_message_is_taken_over_only_after_the_lease(world: World) -> None:
    first, second = await world.worker(), await world.worker()
    message = (await world.accept(await world.session())).message
    await world.claim(message, first)
    assert await world.try_claim(message.id, second) is None
    await world.renew(first, lease_s=-0.1)
    again = await world.claim(message, second)
    assert again.attempt == 2
    stored = await world.message(message.id)
    assert (stored.lost_count, stored.worker_id) == (1, second)
    assert await world.attempts(message.id) == ["lost", None]


async def test_a_message_of_a_worker_that_is_gone_is_taken_over(world: World) -> None:
    message = (await world.accept(await world.session())).message
    await world.claim(message)
    await world.change(Message, message.id, worker_id=message.id)
    assert (await world.claim(message)).attempt == 2


async def test_an_attempt_older_than_the_run_limit_is_lost_whatever_its_lease(
    world: World,
) -> None:
    worker = await world.worker(lease_s=1000)
    message = (await world.accept(await world.session())).message
    await world.claim(message, worker)
    limit = world.settings.run_limit_s
    await world.change(Message, message.id, claimed_at=clock() - limit + 5)
    assert await world.try_claim(message.id, worker) is None
    await world.change(Message, message.id, claimed_at=clock() - limit - 1)
    taken_over = await world.claim(message, worker)
    assert (taken_over.attempt, taken_over.waited_s) == (2, None)


async def test_a_claim_tells_how_long_the_message_was_queued(world: World) -> None:
    message = (await world.accept(await world.session())).message
    await world.change(Message, message.id, queued_at=clock() - 7)
    claim = await world.claim(message)
    assert claim.waited_s == pytest.approx(7, abs=2)


async def test_a_message_lost_too_often_fails_and_its_session_goes_on(world: World) -> None:
    world.limit(max_lost=2)
    session = await world.session()
    message = (await world.accept(session)).message
    following = (await world.accept(session)).message
    await world.claim(message, await world.worker(lease_s=-1))
    await world.claim(message, await world.worker(lease_s=-1))
    ended = await world.try_claim(message.id, await world.worker())
    assert ended == Ended(ids=(message.id,), ready=(following.id,))
    assert ended.codes == ("worker_lost",)
    stored = await world.message(message.id)
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("failed", "worker_lost")
    assert await world.attempts(message.id) == ["lost", "lost"]


async def test_releases_and_conflicts_do_not_count_as_lost(world: World) -> None:
    world.limit(max_lost=1)
    message = (await world.accept(await world.session())).message
    for _ in range(3):
        claim = await world.run_again(await world.claim(message))
        await world.release(claim)
    assert (await world.message(message.id)).lost_count == 0
    assert (await world.claim(message)).attempt == 7


async def test_sessions_of_one_project_run_at_the_same_time(world: World) -> None:
    project = await world.project()
    sessions = [await world.session(project) for _ in range(3)]
    running = [await world.claimed(session) for session in sessions]
    assert len({claim.session_id for claim in running}) == 3
