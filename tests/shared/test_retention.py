"""Old sessions go with all that belongs to them; what they cost and changed stays."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import update

from shared.database import Database
from shared.dialects import clock
from shared.errors import SessionNotFound
from shared.store import projects, retention, usage
from shared.store.retention import Deleted
from shared.tables import (
    Attempt,
    Event,
    Item,
    Message,
    MessageResponse,
    ModelCall,
    Revision,
    VibeSession,
)
from shared.workflow.text import EMPTY_WORKFLOW
from tests.shared.test_usage import record, spent, sums
from tests.shared.world import ON_POSTGRESQL, OWNER, World

DAY_S = 86_400
BELOW = (VibeSession, Message, Item, Attempt, Event, ModelCall, MessageResponse)


async def age(world: World, session: VibeSession, *, days: float) -> None:
    """Let everything in a session have happened so long ago."""
    await world.change(VibeSession, session.id, created_at=clock() - days * DAY_S)
    async with world.database.begin() as db:
        await db.execute(
            update(Message)
            .where(Message.session_id == session.id, Message.ended_at.is_not(None))
            .values(ended_at=clock() - days * DAY_S)
        )


async def old(world: World, days: float = 30, limit: int = 100) -> list[UUID]:
    async with world.database.read() as db:
        found = await retention.old_sessions(db, unused_s=days * DAY_S, after=None, limit=limit)
        return list(found)


async def delete(world: World, ids: list[UUID], days: float = 30) -> Deleted:
    async with world.database.begin() as db:
        return await retention.delete_sessions(db, ids, unused_s=days * DAY_S)


async def test_an_old_session_goes_with_all_that_belongs_to_it(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    claim = await world.claimed(session)
    await record(world, claim, spent(1), spent(2, day=3))
    await world.complete(claim, code=EMPTY_WORKFLOW + "\nanswer = 42\n")
    await world.answer(session)
    await age(world, session, days=31)
    gone = await delete(world, await old(world))
    assert (gone.sessions, gone.messages, gone.items) == (1, 2, 4)
    assert gone.oldest_s == pytest.approx(31 * DAY_S, abs=60)
    assert [await world.count(table) for table in BELOW] == [0] * len(BELOW)
    async with world.database.read() as db:
        revision = await projects.revision(db, project.id, number=2)
        kept = await usage.of_project(db, project.id)
    assert revision.message_id == claim.message_id
    assert await world.count(Revision) == 2
    assert kept == [sums(1), sums(1, model="scripted", uncounted=1), sums(1, day=3)]


async def test_the_tokens_of_one_deleted_session_are_added_to_those_of_another(
    world: World,
) -> None:
    project = await world.project()
    for _ in range(2):
        session = await world.session(project)
        claim = await world.claimed(session)
        await record(world, claim, spent(1), spent(2, usage=None))
        await world.cancel(claim.message_id)
        await age(world, session, days=31)
        assert (await delete(world, await old(world))).sessions == 1
    async with world.database.read() as db:
        assert await usage.of_project(db, project.id) == [sums(4, uncounted=2)]
        assert await usage.of_project(db, project.id, days=(1, 9)) == []


async def test_what_was_used_lately_or_is_unfinished_stays(world: World) -> None:
    empty, answered, queued, running, used = [await world.session() for _ in range(5)]
    for session in (answered, queued, running, used):
        await world.answer(session)
    for session in (empty, answered, queued, running, used):
        await age(world, session, days=31)
    await world.accept(queued)
    await world.claimed(running)
    await world.answer(used)
    young = await world.session()
    assert sorted(await old(world)) == sorted([empty.id, answered.id])
    assert await old(world, days=32) == []
    every = [session.id for session in (empty, answered, queued, running, used, young)]
    assert (await delete(world, every)).sessions == 2


async def test_a_message_that_is_accepted_in_the_meantime_saves_its_session(world: World) -> None:
    session = await world.session()
    await age(world, session, days=31)
    found = await old(world)
    message = (await world.accept(session)).message
    assert await delete(world, found) == Deleted()
    assert (await world.message(message.id)).status == "queued"


async def test_old_sessions_are_listed_a_few_at_a_time(world: World) -> None:
    project = await world.project()
    made = [await world.session(project) for _ in range(5)]
    for session in made:
        await age(world, session, days=31)
    first = await old(world, limit=2)
    async with world.database.read() as db:
        rest = await retention.old_sessions(db, unused_s=DAY_S, after=first[-1], limit=9)
    assert [*first, *rest] == sorted(session.id for session in made)


async def test_a_deleted_projects_sessions_are_left_to_its_purge(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    await age(world, session, days=31)
    await world.delete(project)
    assert await old(world) == []


async def test_the_place_can_be_talked_about_again(world: World) -> None:
    project = await world.project()
    session = await world.session(project, new=False)
    await age(world, session, days=31)
    await delete(world, await old(world))
    again = await world.session(project, new=False)
    assert again.id != session.id
    assert again.openai_session_key == session.openai_session_key
    await world.answer(again)


@ON_POSTGRESQL
async def test_a_post_to_a_session_that_is_just_being_deleted_finds_none(world: World) -> None:
    session = await world.session()
    await age(world, session, days=31)
    other = Database(world.settings, name="other")
    async with world.database.begin() as db:
        assert (await retention.delete_sessions(db, [session.id], unused_s=DAY_S)).sessions == 1
        late = asyncio.create_task(World(other, world.settings).accept(session))
        await asyncio.sleep(0.2)  # it waits for the lock
        assert not late.done()
    with pytest.raises(SessionNotFound):
        await late
    await other.close()


async def test_whose_sessions_they_are_does_not_matter(world: World) -> None:
    assert OWNER != "bert"
    async with world.database.begin() as db:
        project = await projects.create(
            db, owner="bert", name="p", instructions="", code=EMPTY_WORKFLOW
        )
    session = await world.session(project)
    await age(world, session, days=31)
    assert await old(world) == [session.id]
