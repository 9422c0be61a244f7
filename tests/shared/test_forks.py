"""Forks in the store: whose items come along, whose code, on both databases."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import ColumnElement, delete

from shared.errors import MemoryIncomplete, MessageNotFound, MessageUnfinished
from shared.store import forks, messages, projects
from shared.store.transitions import Claim
from shared.tables import Item, Project, VibeSession
from tests.shared.world import ON_POSTGRESQL, OWNER, World, said

CODE = "x = {}\n"


async def fork(world: World, claim: Claim, *, copy_project: bool = False) -> VibeSession:
    async with world.database.begin() as db:
        message = await messages.get(db, claim.message_id, owner=OWNER)
        project = await projects.lock(db, message.project_id, owner=OWNER)
        return await forks.fork(db, message, project, copy_project=copy_project)


async def copied_code(world: World, claim: Claim) -> str:
    forked = await fork(world, claim, copy_project=True)
    async with world.database.read() as db:
        return (await projects.get(db, forked.project_id, owner=OWNER)).code


async def edit(world: World, project: Project, code: str) -> None:
    async with world.database.begin() as db:
        locked = await projects.lock(db, project.id)
        await projects.revise(db, locked, code=code, diff="d", message_id=None)


async def purge(world: World, items: ColumnElement[bool]) -> None:
    async with world.database.begin() as db:
        await db.execute(delete(Item).where(items))


async def test_a_fork_is_as_its_counters_say(world: World) -> None:
    session = await world.session()
    first = await world.answer(session, "one")
    second = await world.answer(session, "two")
    for claim, texts in ((first, ["one"]), (second, ["one", "two"])):
        forked = await world.stored_session(await fork(world, claim))
        expected = [text for each in texts for text in (each, f"reply to {each}")]
        assert await world.items(forked) == said(*expected)
        assert forked.item_count == len(expected)
        assert forked.last_message_id == claim.message_id
        assert (forked.generation, forked.next_seq) == (1, 1)
        going_on = await world.answer(forked, "three")
        assert going_on.item_count == len(expected)


async def test_what_is_answered_meanwhile_does_not_come_along(world: World) -> None:
    session = await world.session()
    first = await world.answer(session, "one")
    running = await world.claimed(session, "two")
    forked, _ = await asyncio.gather(fork(world, first), world.complete(running))
    assert await world.items(forked) == said("one", "reply to one")
    with pytest.raises(MessageUnfinished):
        await fork(world, await world.claimed(session, "three"))


async def test_of_a_past_generation_only_its_own_items_come_along(world: World) -> None:
    session = await world.session()
    past = await world.answer(session, "past")
    await world.clear(session)
    present = await world.answer(session, "present")
    for claim, text in ((past, "past"), (present, "present")):
        assert await world.items(await fork(world, claim)) == said(text, f"reply to {text}")


async def test_items_that_were_purged_are_missed(world: World) -> None:
    session = await world.session()
    past = await world.answer(session, "past")
    await world.clear(session)
    await purge(world, Item.session_id == session.id)
    with pytest.raises(MemoryIncomplete):
        await fork(world, past)


async def test_a_fork_before_the_damage_is_possible(world: World) -> None:
    session = await world.session()
    first, second = await world.answer(session, "one"), await world.answer(session, "two")
    await purge(world, Item.message_id == second.message_id)
    assert await world.items(await fork(world, first)) == said("one", "reply to one")
    with pytest.raises(MemoryIncomplete):
        await fork(world, second)


@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_the_code_of_a_copy_is_what_was_there_when_the_message_ended(
    world: World, end: str
) -> None:
    project = await world.project(CODE.format(0))
    session = await world.session(project)
    await edit(world, project, CODE.format(1))
    claim = await world.claimed(session)
    ending: Any = getattr(world, end)
    await ending(claim)
    await asyncio.sleep(0.002)  # SQLite's clock ticks once a millisecond
    await edit(world, project, CODE.format(2))
    assert await copied_code(world, claim) == CODE.format(1)


async def test_the_code_of_a_copy_is_what_the_message_made(world: World) -> None:
    project = await world.project(CODE.format(0))
    claim = await world.claimed(await world.session(project))
    await world.complete(claim, code=CODE.format(1))
    await edit(world, project, CODE.format(2))
    assert await copied_code(world, claim) == CODE.format(1)


async def test_a_fork_may_spend_as_much_as_what_it_is_a_fork_of(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    await world.change(Project, project.id, budget_usd="25.00")
    await world.change(VibeSession, session.id, budget_tokens=1000)
    forked = await fork(world, await world.answer(session), copy_project=True)
    async with world.database.read() as db:
        copied = await projects.get(db, forked.project_id, owner=OWNER)
    assert (copied.budget_usd, copied.budget_tokens) == ("25.00", None)
    assert (forked.budget_usd, forked.budget_tokens) == (None, 1000)


@ON_POSTGRESQL
async def test_a_session_that_goes_while_it_is_forked_is_not_found(world: World) -> None:
    session = await world.session()
    claim = await world.answer(session)
    async with world.database.begin() as db:
        message = await messages.get(db, claim.message_id, owner=OWNER)
        project = await projects.lock(db, message.project_id, owner=OWNER)
        async with world.database.begin() as other:  # as retention does
            await other.execute(delete(VibeSession).where(VibeSession.id == session.id))
        with pytest.raises(MessageNotFound):
            await forks.fork(db, message, project, copy_project=False)
