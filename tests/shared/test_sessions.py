"""Sessions: found or made once, listed in pages, and what they say of themselves."""

import asyncio
from uuid import uuid4

import pytest

from shared.database import Database
from shared.errors import MessageNotFound, SessionNotFound
from shared.store import estimates, messages, sessions
from shared.store.sessions import Memory
from shared.tables import Message, VibeSession
from tests.shared.world import OWNER, World


async def test_callers_that_race_for_a_place_find_one_session(world: World) -> None:
    project = await world.project()
    databases = [Database(world.settings, name="t") for _ in range(5)]

    async def ensure(database: Database) -> tuple[VibeSession, bool]:
        async with database.begin() as db:
            return await sessions.ensure(
                db, project_id=project.id, node_id="triage", new=False, title=None
            )

    found = await asyncio.gather(*(ensure(database) for database in databases))
    for database in databases:
        await database.close()
    assert len({session.id for session, _ in found}) == 1
    assert [made for _, made in found].count(True) == 1


async def test_callers_that_race_for_a_new_conversation_get_one_each(world: World) -> None:
    project = await world.project()
    databases = [Database(world.settings, name="t") for _ in range(4)]
    made = await asyncio.gather(
        *(World(database, world.settings).session(project) for database in databases)
    )
    for database in databases:
        await database.close()
    base = f"project_{project.id}"
    keys = {session.openai_session_key for session in made}
    assert keys == {base, f"{base}.2", f"{base}.3", f"{base}.4"}


async def test_a_place_is_the_project_or_one_node_and_names_do_not_mix(world: World) -> None:
    project = await world.project()
    nodes = [None, "a", "a_b", "aXb", "a", None, "a_b"]
    made = [await world.session(project, node_id=node, new=True) for node in nodes]
    assert [
        session.openai_session_key.removeprefix(f"project_{project.id}") for session in made
    ] == [
        *("", "_node_a", "_node_a_b", "_node_aXb"),
        *("_node_a.2", ".2", "_node_a_b.2"),
    ]
    again = await world.session(project, node_id="a", new=False)
    assert again.id == made[1].id


async def test_sessions_are_paged_in_the_order_of_their_making(world: World) -> None:
    project = await world.project()
    made = [await world.session(project) for _ in range(5)]
    await world.session()
    async with world.database.read() as db:
        first = await sessions.summaries(db, project_id=project.id, after=None, limit=2)
        rest = await sessions.summaries(db, project_id=project.id, after=first[-1].session, limit=9)
    assert [s.session.id for s in first + rest] == [session.id for session in made]


async def test_a_summary_counts_the_present_generation(world: World) -> None:
    session = await world.session()
    await world.answer(session)
    await world.clear(session)
    claim = await world.answer(session)
    usage = {"input_tokens": 7, "output_tokens": 2}
    await world.change(Message, claim.message_id, usage=usage)
    await world.claimed(session)
    await world.accept(session)
    async with world.database.read() as db:
        summary = await sessions.summary(db, session.id)
    assert (summary.messages, summary.unfinished, summary.running) == (3, 2, True)
    assert (summary.input_tokens, summary.output_tokens) == (7, 2)


async def test_messages_are_paged_and_those_before_a_clear_are_not_listed(world: World) -> None:
    session = await world.session()
    old = (await world.accept(session)).message
    await world.clear(session)
    new = [(await world.accept(session)).message.id for _ in range(4)]
    async with world.database.read() as db:
        current = await sessions.get(db, session.id, owner=OWNER)
        first = await messages.listing(db, current, after=None, limit=3)
        rest = await messages.listing(db, current, after=first[-1], limit=3)
        full = await messages.full(db, old.id, owner=OWNER)
    assert [message.id for message in [*first, *rest]] == new
    assert full.message.status == "cancelled"


async def test_a_position_counts_the_unfinished_before_it(world: World) -> None:
    session = await world.session()
    await world.answer(session)
    claim = await world.claimed(session)
    last = (await world.accept(session)).message
    async with world.database.read() as db:
        assert (await estimates.estimate(db, await messages.reread(db, last.id))).position == 1
        head = await messages.get(db, claim.message_id, owner=OWNER)
        assert (await estimates.estimate(db, head)).position == 0


async def test_a_full_message_has_items_attempts_and_responses(world: World) -> None:
    session = await world.session()
    await world.answer(session)
    claim = await world.answer(session, "second")
    async with world.database.read() as db:
        full = await messages.full(db, claim.message_id, owner=OWNER)
    assert [item.position for item in full.items] == [2, 3]
    assert [attempt.outcome for attempt in full.attempts] == ["completed"]
    assert full.response is not None


async def test_what_others_own_does_not_exist(world: World) -> None:
    claim = await world.claimed()
    async with world.database.read() as db:
        with pytest.raises(MessageNotFound):
            await messages.get(db, claim.message_id, owner="bert")
        with pytest.raises(SessionNotFound):
            await sessions.get(db, claim.session_id, owner="bert")


async def test_which_messages_have_ended_is_asked_for_many_at_once(world: World) -> None:
    session = await world.session()
    done = await world.answer(session)
    open_ = (await world.accept(session)).message.id
    async with world.database.read() as db:
        asked = [done.message_id, open_, *(uuid4() for _ in range(2000))]
        assert await messages.ended_among(db, asked) == [done.message_id]


async def test_the_memorys_counters_and_writers_are_told(world: World) -> None:
    session = await world.session()
    first, second = await world.answer(session, "a"), await world.answer(session, "b")

    async with world.database.snapshot() as db:
        assert await sessions.memory(db, session.id) == Memory(1, 4, second.message_id)
        assert await sessions.memory(db, first.message_id) is None
        writers = [
            await sessions.writers_around(db, session.id, generation=1, position=position)
            for position in (0, 1, 2, 4)
        ]
    one, two = first.message_id, second.message_id
    assert writers == [(None, one), (one, one), (one, two), (two, None)]


async def test_the_generations_of_living_sessions_are_told(world: World) -> None:
    project = await world.project()
    gone = await world.session(project)
    await world.delete(project)
    session = await world.session()
    await world.clear(session)
    async with world.database.read() as db:
        found = await sessions.generations(db, [gone.id, session.id, uuid4()])
    assert found == {session.id: 2}
