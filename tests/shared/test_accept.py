"""Commit 1: what is stored of a POST, what refuses it, and in which order that is decided."""

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest

from shared.errors import (
    IdempotencyKeyReused,
    ProjectQueueFull,
    ServiceQueueFull,
    SessionBusy,
    SessionNotFound,
    SessionQueueFull,
    VibeCoderError,
)
from shared.store.accept import UnfinishedCount
from shared.tables import Message, MessageStatus
from tests.shared.world import ON_SQLITE, World, draft


async def test_an_accepted_message_is_queued_and_its_message_enqueued(world: World) -> None:
    accepted = await world.accept(await world.session(), "Create a triage agent")
    stored = await world.message(accepted.message.id)
    assert (stored.status, stored.seq, stored.attempt) == ("queued", 1, 0)
    assert stored.content == "Create a triage agent"
    assert accepted.ended.ready == (stored.id,)
    assert stored.enqueued_at is not None


async def test_only_the_first_of_a_session_is_enqueued(world: World) -> None:
    session = await world.session()
    await world.accept(session)
    assert (await world.accept(session)).ended.ready == ()


async def test_a_known_key_gives_the_same_message(world: World) -> None:
    session = await world.session()
    first = await world.accept(session, key="k")
    again = await world.accept(session, key="k")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.message.id == first.message.id
    assert await world.count(Message) == 1


async def test_a_key_holds_for_its_session_only(world: World) -> None:
    project = await world.project()
    await world.accept(await world.session(project), key="k")
    assert not (await world.accept(await world.session(project), key="k")).replayed


async def test_a_key_with_another_prompt_is_refused(world: World) -> None:
    session = await world.session()
    await world.accept(session, "one", key="k")
    with pytest.raises(IdempotencyKeyReused):
        await world.accept(session, "two", key="k")


async def test_a_key_outlives_the_clearing_of_its_session(world: World) -> None:
    session = await world.session()
    first = await world.accept(session, key="k")
    await world.clear(session)
    again = await world.accept(session, key="k")
    assert again.message.id == first.message.id
    assert again.message.status == "cancelled"


async def test_the_key_is_looked_at_before_on_busy_and_the_limits(world: World) -> None:
    session = await world.session()
    first = await world.accept(session, key="k", on_busy="reject")
    world.limit(session_queue_limit=1)
    assert (await world.accept(session, key="k", on_busy="reject")).message.id == first.message.id


async def test_on_busy_is_looked_at_before_the_limits(world: World) -> None:
    session = await world.session()
    await world.accept(session)
    world.limit(session_queue_limit=1)
    with pytest.raises(SessionBusy):
        await world.accept(session, on_busy="reject")
    with pytest.raises(SessionQueueFull):
        await world.accept(session)


@pytest.mark.parametrize(
    ("limit", "refusal"),
    [
        ("session_queue_limit", SessionQueueFull),
        ("project_queue_limit", ProjectQueueFull),
        ("service_queue_limit", ServiceQueueFull),
    ],
)
async def test_a_full_queue_refuses_and_says_when_to_come_back(
    world: World, limit: str, refusal: type[VibeCoderError]
) -> None:
    session = await world.session()
    for _ in range(2):
        await world.accept(session)
    world.limit(**{limit: 2})
    with pytest.raises(refusal) as refused:
        await world.accept(session)
    assert 1 <= refused.value.extra["retry_after"] <= 60
    assert await world.count(Message) == 2


async def test_what_has_ended_does_not_count(world: World) -> None:
    session = await world.session()
    world.limit(session_queue_limit=1, project_queue_limit=1, service_queue_limit=1)
    await world.answer(session)
    await world.fail(await world.claimed(session))
    await world.accept(session)


async def test_rollback_cancels_what_waits_and_runs_and_takes_its_place(world: World) -> None:
    session = await world.session()
    done = await world.answer(session)
    running = await world.claimed(session)
    waiting = (await world.accept(session)).message
    accepted = await world.accept(session, on_busy="rollback")
    assert accepted.ended.ids == (running.message_id, waiting.id)
    assert accepted.ended.ready == (accepted.message.id,)
    assert (await world.message(running.message_id)).status == "cancelled"
    assert (await world.message(done.message_id)).status == "completed"
    assert await world.attempts(running.message_id) == ["cancelled"]


async def test_a_refused_rollback_cancels_nothing_and_takes_no_number(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    running = await world.claimed(session)
    await world.accept(await world.session(project))
    world.limit(project_queue_limit=1)
    with pytest.raises(ProjectQueueFull):
        await world.accept(session, on_busy="rollback")
    assert (await world.message(running.message_id)).status == "in_progress"
    assert (await world.stored_session(session)).next_seq == 2


async def test_rollback_fits_where_it_makes_room_itself(world: World) -> None:
    session = await world.session()
    await world.accept(session)
    world.limit(session_queue_limit=1, project_queue_limit=1, service_queue_limit=1)
    assert len((await world.accept(session, on_busy="rollback")).ended.ids) == 1


async def test_a_foreign_a_missing_and_a_deleted_session_are_not_there(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    with pytest.raises(SessionNotFound):
        await world.accept_draft(session.id, draft(), owner="bert")
    with pytest.raises(SessionNotFound):
        await world.accept_draft(project.id, draft())
    await world.delete(project)
    with pytest.raises(SessionNotFound):
        await world.accept_draft(session.id, draft())
    assert await world.count(Message) == 0


async def test_concurrent_messages_are_numbered_and_one_is_enqueued(
    world: World,
) -> None:
    session = await world.session()
    accepted = await asyncio.gather(*(world.accept(session, str(n)) for n in range(12)))
    assert sorted(a.message.seq for a in accepted) == list(range(1, 13))
    assert sum(len(a.ended.ready) for a in accepted) == 1


async def test_concurrent_duplicates_of_a_key_make_one_message(world: World) -> None:
    session = await world.session()
    accepted = await asyncio.gather(*(world.accept(session, key="k") for _ in range(8)))
    assert len({a.message.id for a in accepted}) == 1
    assert [a.replayed for a in accepted].count(False) == 1


async def test_a_session_deleted_while_messages_arrive_leaves_none_unfinished(
    world: World,
) -> None:
    project = await world.project()
    session = await world.session(project)
    accepted: list[UUID] = []

    async def send() -> None:
        with suppress(SessionNotFound):
            accepted.append((await world.accept(session)).message.id)

    clients = [send() for _ in range(12)]
    await asyncio.gather(*clients[:6], world.delete(project), *clients[6:])
    for message_id in accepted:
        assert (await world.message(message_id)).status == MessageStatus.CANCELLED


@ON_SQLITE
async def test_the_whole_service_is_counted_once_a_second_and_own_messages_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("shared.store.accept.monotonic", lambda: now)
    unfinished = UnfinishedCount()

    async def known() -> int:
        async with world.database.read() as db:
            return await unfinished.read(db)

    assert await known() == 0
    await world.accept(await world.session())  # as another process does
    unfinished.add(1)
    assert await known() == 1
    await world.accept(await world.session())
    assert await known() == 1, "it is not a second old"
    now += 1
    assert await known() == 2
