"""An idempotency key is forgotten a while after its message ended, and never before."""

import pytest
from sqlalchemy import update

from shared.dialects import clock
from shared.tables import Message
from tests.shared.world import World


async def ended(world: World, message: Message, *, seconds_ago: float) -> None:
    async with world.database.begin() as db:
        values = {"status": "completed", "ended_at": clock() - seconds_ago}
        await db.execute(update(Message).where(Message.id == message.id).values(values))


@pytest.mark.parametrize(("seconds_ago", "known"), [(86_300, True), (86_500, False)])
async def test_a_key_is_known_for_its_lifetime_after_the_end(
    world: World, seconds_ago: float, known: bool
) -> None:
    session = await world.session()
    first = await world.accept(session, key="k")
    await ended(world, first.message, seconds_ago=seconds_ago)
    again = await world.accept(session, key="k")
    assert again.replayed is known
    assert (again.message.id == first.message.id) is known
    third = await world.accept(session, key="k")
    assert third.replayed
    assert third.message.id == again.message.id


async def test_an_old_key_is_free_for_another_prompt(world: World) -> None:
    session = await world.session()
    first = await world.accept(session, "one", key="k")
    await ended(world, first.message, seconds_ago=86_500)
    assert not (await world.accept(session, "two", key="k")).replayed


async def test_the_key_of_an_unfinished_message_is_known_however_old_it_is(world: World) -> None:
    session = await world.session()
    first = await world.accept(session, key="k")
    async with world.database.begin() as db:
        await db.execute(update(Message).values(created_at=0.0, queued_at=0.0))
    assert (await world.accept(session, key="k")).message.id == first.message.id
