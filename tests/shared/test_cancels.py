"""Ends that no attempt makes: cancelled, cleared, deleted, expired."""

from uuid import uuid4

import pytest
from sqlalchemy import update

from shared.dialects import clock
from shared.errors import MessageNotFound, ProjectNotFound
from shared.overdue import end_overdue
from shared.store import dispatch, projects, transitions
from shared.store.transitions import Ended
from shared.tables import Item, Message, Project, VibeSession, Worker
from tests.shared.world import World


class Heard:
    """Remember what was announced, in the place of the Announcer."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    async def announce(self, ended: Ended) -> None:
        self.ended.append(ended)


async def end_all_overdue(world: World) -> Ended:
    heard = Heard()
    await end_overdue(world.database, heard, world.settings)  # type: ignore[arg-type]
    total = Ended()
    for ended in heard.ended:
        total |= ended
    return total


async def test_a_waiting_message_is_cancelled_alone(world: World) -> None:
    session = await world.session()
    head = await world.claimed(session)
    second = (await world.accept(session)).message
    third = (await world.accept(session)).message
    assert await world.cancel(second.id) == Ended(ids=(second.id,))
    assert (await world.complete(head)).ready == (third.id,)


async def test_cancelling_a_running_message_readies_the_next_one(world: World) -> None:
    session = await world.session()
    head = await world.claimed(session)
    second = (await world.accept(session)).message
    ended = await world.cancel(head.message_id)
    assert ended == Ended((head.message_id,), (second.id,), (head.message_id,))
    assert ended.codes == ("cancelled",)
    stored = await world.message(head.message_id)
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("cancelled", "cancelled")
    assert stored.ended_at is not None
    assert await world.attempts(head.message_id) == ["cancelled"]


async def test_what_has_ended_cannot_be_cancelled(world: World) -> None:
    claim = await world.answer(await world.session())
    assert await world.cancel(claim.message_id) == Ended()
    assert (await world.message(claim.message_id)).status == "completed"
    assert await world.attempts(claim.message_id) == ["completed"]


async def test_clearing_ends_what_is_unfinished_and_begins_a_generation(world: World) -> None:
    session = await world.session()
    await world.answer(session, "old")
    running = await world.claimed(session)
    waiting = (await world.accept(session)).message
    assert await world.clear(session) == Ended(
        ids=(running.message_id, waiting.id), stopped=(running.message_id,)
    )
    stored = await world.stored_session(session)
    assert (stored.generation, stored.item_count, stored.last_message_id) == (2, 0, None)
    await world.answer(session, "new")
    assert await world.positions(session) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert len(await world.items(session, generation=2)) == 2


async def test_clearing_frees_a_place_for_another_session_of_the_project(world: World) -> None:
    world.limit(project_concurrency=1)
    project = await world.project()
    session = await world.session(project)
    await world.claimed(session)
    waiting = await world.accept(await world.session(project))
    assert waiting.ended.ready == ()
    assert (await world.clear(session)).ready == (waiting.message.id,)


async def test_deleting_a_project_ends_everything_below_it_and_nothing_else(world: World) -> None:
    project = await world.project()
    one, two = await world.session(project), await world.session(project)
    done = await world.answer(one)
    unfinished = {(await world.claimed(one)).message_id}
    unfinished |= {(await world.accept(session)).message.id for session in (one, two)}
    other = await world.claimed()
    ended = await world.delete(project)
    assert set(ended.ids) == unfinished
    for message_id in unfinished:
        assert (await world.message(message_id)).status == "cancelled"
    assert (await world.message(other.message_id)).status == "in_progress"
    with pytest.raises(MessageNotFound):
        await world.cancel(done.message_id)
    with pytest.raises(ProjectNotFound):
        await world.delete(project)


async def test_a_deleted_project_is_purged_with_all_rows_but_only_in_time(world: World) -> None:
    project = await world.project()
    await world.answer(await world.session(project))
    await world.answer(await world.session())
    await world.delete(project)
    async with world.database.begin() as db:
        assert await dispatch.purge_projects(db, deleted_before_s=60) == 0
    await world.change(Project, project.id, deleted_at=clock() - 61)
    async with world.database.begin() as db:
        assert await dispatch.purge_projects(db, deleted_before_s=60) == 1
    tables = (Project, VibeSession, Message, Item)
    assert [await world.count(table) for table in tables] == [1, 1, 1, 2]


async def test_a_message_that_waited_too_long_expires_and_the_next_does_not(world: World) -> None:
    session = await world.session()
    old = (await world.accept(session)).message
    young = (await world.accept(session)).message
    await world.change(Message, old.id, queued_at=clock() - world.settings.queue_timeout_s - 1)
    ended = await end_all_overdue(world)
    assert ended == Ended(ids=(old.id,), ready=(young.id,))
    assert ended.codes == ("expired",)
    stored = await world.message(old.id)
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("failed", "expired")


async def test_a_message_without_a_living_worker_for_too_long_fails_as_lost(world: World) -> None:
    worker = await world.worker()
    message = (await world.accept(await world.session())).message
    await world.claim(message, worker)
    assert await end_all_overdue(world) == Ended()
    await world.renew(worker, lease_s=-world.settings.queue_timeout_s - 1)
    assert (await end_all_overdue(world)).ids == (message.id,)
    stored = await world.message(message.id)
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("failed", "worker_lost")
    assert (stored.lost_count, await world.attempts(message.id)) == (1, ["lost"])


async def test_a_message_of_a_forgotten_worker_counts_from_its_claim(world: World) -> None:
    message = (await world.accept(await world.session())).message
    await world.claim(message)
    await world.change(Message, message.id, worker_id=uuid4())
    assert await end_all_overdue(world) == Ended()
    claimed_at = clock() - world.settings.queue_timeout_s - 1
    await world.change(Message, message.id, claimed_at=claimed_at)
    assert (await end_all_overdue(world)).ids == (message.id,)


async def test_what_got_a_worker_or_its_worker_back_meanwhile_does_not_expire(
    world: World,
) -> None:
    timeout = world.settings.queue_timeout_s
    worker = await world.worker()
    running = (await world.accept(await world.session())).message
    await world.claim(running, worker)
    waiting = (await world.accept(await world.session())).message
    await world.renew(worker, lease_s=-timeout - 1)
    await world.change(Message, waiting.id, queued_at=clock() - timeout - 1)
    async with world.database.read() as db:
        overdue = await transitions.overdue(db, queue_timeout_s=timeout, limit=10)
    assert {message.id for message in overdue} == {running.id, waiting.id}
    await world.renew(worker, lease_s=60)
    await world.claim(waiting, worker)
    for message in overdue:
        async with world.database.begin() as db:
            ended = await transitions.expire(db, message, queue_timeout_s=timeout, limit=9)
        assert ended == Ended()
    assert (await world.message(running.id)).status == "in_progress"
    assert (await world.message(waiting.id)).status == "in_progress"


async def test_a_release_starts_the_time_in_the_queue_anew(world: World) -> None:
    claim = await world.claimed()
    old = clock() - world.settings.queue_timeout_s - 1
    await world.change(Message, claim.message_id, queued_at=old)
    await world.release(claim)
    assert await end_all_overdue(world) == Ended()


async def test_without_any_worker_everything_still_ends(world: World) -> None:
    sessions = [await world.session() for _ in range(3)]
    messages = [(await world.accept(s)).message.id for s in sessions for _ in range(2)]
    async with world.database.begin() as db:
        await db.execute(update(Message).values(queued_at=clock() - 10_000))
    assert set((await end_all_overdue(world)).ids) == set(messages)
    assert await world.count(Worker) == 0


async def test_the_living_projects_of_an_owner_are_paged_in_their_order(world: World) -> None:
    made = [await world.project() for _ in range(5)]
    await world.delete(made[1])
    async with world.database.read() as db:
        first = await projects.listing(db, owner="anna", after=None, limit=2)
        rest = await projects.listing(db, owner="anna", after=first[-1], limit=9)
        assert await projects.listing(db, owner="bert", after=None, limit=9) == []
    listed = [project.id for project in [*first, *rest]]
    assert listed == [made[n].id for n in (0, 2, 3, 4)]
