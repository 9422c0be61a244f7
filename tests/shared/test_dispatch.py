"""Which messages workers are told of: as many as their project may have under way, fairly."""

import asyncio
from uuid import UUID

from shared.database import Database
from shared.dialects import clock
from shared.store import dispatch
from shared.tables import Message, VibeSession
from tests.shared.world import ON_POSTGRESQL, World


async def mark_lost(world: World, *, limit: int = 100, age_s: float = 5) -> tuple[UUID, ...]:
    async with world.database.begin() as db:
        return await dispatch.mark_lost(
            db,
            waiting=0,
            enqueued_before_s=age_s,
            run_limit_s=world.settings.run_limit_s,
            limit=limit,
        )


async def mark_waiting(world: World, *, limit: int = 100) -> tuple[UUID, ...]:
    async with world.database.begin() as db:
        return await dispatch.mark_waiting(db, project_limit=world.cap, limit=limit)


async def waiting(
    world: World, count: int, *, sessions: list[VibeSession] | None = None
) -> list[UUID]:
    """Have messages accepted, each in a session of one project, without any hint."""
    world.limit(project_concurrency=0)
    project = await world.project()
    found = sessions or [await world.session(project) for _ in range(count)]
    accepted = [await world.accept(session) for session in found]
    assert not any(one.ended.ready for one in accepted)
    return [one.message.id for one in accepted]


async def test_a_project_has_no_more_under_way_than_its_cap_oldest_first(world: World) -> None:
    world.limit(project_concurrency=3)
    project = await world.project()
    accepted = [await world.accept(await world.session(project)) for _ in range(6)]
    assert [len(one.ended.ready) for one in accepted] == [1, 1, 1, 0, 0, 0]
    claims = [await world.claim(one.message) for one in accepted[:3]]
    assert await world.mark_enqueued(project, limit=3) == ()
    for claim, following in zip(claims, accepted[3:], strict=True):
        assert (await world.complete(claim)).ready == (following.message.id,)
    assert await world.mark_enqueued(project, limit=3) == ()


async def test_every_transition_hands_on_the_place_that_it_frees(world: World) -> None:
    world.limit(project_concurrency=1)
    project = await world.project()
    accepted = [await world.accept(await world.session(project)) for _ in range(5)]
    ids = [one.message.id for one in accepted]
    assert (await world.fail(await world.claim(ids[0]))).ready == (ids[1],)
    assert (await world.cancel(ids[1])).ready == (ids[2],)
    released = await world.release(await world.claim(ids[2]))
    assert released.ready == (ids[3],)  # it waits anew, at the end
    assert (await world.complete(await world.claim(ids[3]))).ready == (ids[4],)
    assert (await world.complete(await world.claim(ids[4]))).ready == (ids[2],)


async def test_a_cap_is_a_projects_own(world: World) -> None:
    world.limit(project_concurrency=1)
    for _ in range(2):
        assert (await world.accept(await world.session())).ended.ready


async def test_transitions_at_the_same_time_leave_the_cap_full_and_no_head_twice(
    world: World,
) -> None:
    world.limit(project_concurrency=4)
    project = await world.project()
    accepted = [await world.accept(await world.session(project)) for _ in range(12)]
    claims = [await world.claim(one.message) for one in accepted[:4]]
    databases = [Database(world.settings, name="t") for _ in claims]
    ended = await asyncio.gather(
        *(
            World(database, world.settings).complete(claim)
            for database, claim in zip(databases, claims, strict=True)
        )
    )
    for database in databases:
        await database.close()
    enqueued = [head for one in ended for head in one.ready]
    enqueued += await world.mark_enqueued(project, limit=4)  # what two of them overlooked
    assert len(enqueued) == len(set(enqueued)) == 4


async def test_a_hint_is_lost_when_nobody_came_for_long(world: World) -> None:
    message = (await world.accept(await world.session())).message
    assert await mark_lost(world) == ()
    await world.change(Message, message.id, enqueued_at=clock() - 6)
    assert await mark_lost(world) == (message.id,)
    assert await mark_lost(world) == ()


async def test_a_running_message_is_hinted_again_when_its_worker_is_lost(world: World) -> None:
    worker = await world.worker()
    message = (await world.accept(await world.session())).message
    await world.claim(message, worker)
    assert await mark_lost(world) == ()
    await world.renew(worker, lease_s=-1)
    assert await mark_lost(world) == (message.id,)
    assert await mark_lost(world) == ()
    await world.renew(worker, lease_s=1000)
    limit = world.settings.run_limit_s
    await world.change(Message, message.id, enqueued_at=None, claimed_at=clock() - limit - 1)
    assert await mark_lost(world) == (message.id,)


async def test_lost_hints_are_taken_oldest_first_up_to_the_limit(world: World) -> None:
    messages = [(await world.accept(await world.session())).message.id for _ in range(5)]
    for age, message_id in enumerate(messages):
        stale = clock() - 10
        await world.change(Message, message_id, enqueued_at=stale, queued_at=clock() - 100 + age)
    assert set(await mark_lost(world, limit=2)) == set(messages[:2])
    assert set(await mark_lost(world, limit=2)) == set(messages[2:4])


async def test_orphans_and_lost_hints_share_the_limit(world: World) -> None:
    orphan = await world.claim((await world.accept(await world.session())).message)
    await world.change(Message, orphan.message_id, worker_id=orphan.message_id)
    stale = (await world.accept(await world.session())).message.id
    await world.change(Message, stale, enqueued_at=clock() - 10)
    assert await mark_lost(world, limit=1) == (orphan.message_id,)
    assert await mark_lost(world, limit=1) == (stale,)


async def test_the_sweep_hints_heads_that_no_transition_hinted_each_project_in_turn(
    world: World,
) -> None:
    many = await waiting(world, 4)
    few = await waiting(world, 2)
    world.limit(project_concurrency=3)
    assert set(await mark_waiting(world, limit=3)) == {many[0], few[0], many[1]}
    assert set(await mark_waiting(world)) == {few[1], many[2]}
    assert await mark_waiting(world) == ()  # the first project is at its cap


async def test_the_sweep_hints_heads_only(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    ids = await waiting(world, 2, sessions=[session, session])
    world.limit(project_concurrency=9)
    assert await mark_waiting(world) == (ids[0],)
    assert await mark_waiting(world) == ()


async def test_a_busy_project_does_not_keep_the_sweep_from_a_quiet_one(world: World) -> None:
    for _ in range(3):  # at their caps, and waiting for longer
        ids = await waiting(world, 3)
        await world.claim(ids[0])
    (quiet,) = await waiting(world, 1)
    world.limit(project_concurrency=1)
    assert await mark_waiting(world, limit=1) == (quiet,)


@ON_POSTGRESQL
async def test_a_locked_head_is_skipped_not_waited_for(world: World) -> None:
    (head,) = await waiting(world, 1)
    project_id = (await world.message(head)).project_id
    other = Database(world.settings, name="other")
    async with other.begin() as db, asyncio.timeout(5):
        assert await dispatch.mark_enqueued(db, project_id, limit=1) == (head,)
        async with world.database.begin() as mine:
            assert await dispatch.mark_enqueued(mine, project_id, limit=1) == ()
    await other.close()


async def test_forgotten_hints_are_given_again(world: World) -> None:
    message = (await world.accept(await world.session())).message
    async with world.database.begin() as db:
        await dispatch.forget_enqueued(db)
    assert await mark_waiting(world) == (message.id,)


@ON_POSTGRESQL
async def test_one_worker_sweeps_at_a_time(world: World) -> None:
    async with world.database.begin() as first, world.database.begin() as second:
        assert await dispatch.lead(first, "a")
        assert not await dispatch.lead(second, "a")
        assert await dispatch.lead(second, "b")
    async with world.database.begin() as third:
        assert await dispatch.lead(third, "a")


async def test_hints_that_still_wait_in_the_broker_are_not_lost(world: World) -> None:
    for _ in range(3):
        await world.accept(await world.session())
    async with world.database.begin() as db:
        taken = await dispatch.mark_lost(
            db, waiting=2, enqueued_before_s=-1, run_limit_s=world.settings.run_limit_s, limit=100
        )
    assert len(taken) == 1


async def test_a_hint_that_was_sent_after_the_broker_was_asked_is_not_lost(world: World) -> None:
    await world.accept(await world.session())
    async with world.database.begin() as db:
        taken = await dispatch.mark_lost(
            db,
            waiting=0,
            enqueued_before_s=-1,
            run_limit_s=world.settings.run_limit_s,
            limit=100,
            counted_s_ago=60,
        )
    assert not taken
