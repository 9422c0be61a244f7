"""A queued message may be changed and withdrawn; what it may expect is estimated."""

import pytest

from shared.errors import MessageNotQueued
from shared.store import estimates, messages, transitions
from shared.store.estimates import QueueEstimate
from shared.store.transitions import Ended
from tests.shared.world import OWNER, World


async def change(world: World, message_id: object, prompt: str) -> None:
    async with world.database.begin() as db:
        message = await messages.get(db, message_id, owner=OWNER)  # type: ignore[arg-type]
        await transitions.change(db, message, prompt=prompt, request_hash="new")


async def withdraw(world: World, message_id: object) -> Ended:
    async with world.database.begin() as db:
        message = await messages.get(db, message_id, owner=OWNER)  # type: ignore[arg-type]
        return await transitions.withdraw(db, message, limit=world.cap)


async def test_a_worker_gets_the_prompt_as_it_was_changed(world: World) -> None:
    accepted = (await world.accept(await world.session(), "old", key="k")).message
    await change(world, accepted.id, "new")
    assert (await world.message(accepted.id)).request_hash == "new"
    assert (await world.claim(accepted)).prompt == "new"


async def test_a_withdrawn_message_is_cancelled_and_the_next_is_ready(world: World) -> None:
    session = await world.session()
    first = (await world.accept(session)).message
    second = (await world.accept(session)).message
    ended = await withdraw(world, first.id)
    assert ended == Ended(ids=(first.id,), ready=(second.id,))
    assert ended.codes == ("withdrawn",)
    row = await world.message(first.id)
    assert row.error is not None
    assert (row.status, row.error["code"], row.event_count) == ("cancelled", "withdrawn", 2)


async def test_what_was_claimed_or_has_ended_is_refused(world: World) -> None:
    claim = await world.claimed()
    ended = await world.answer(await world.session())
    for message_id in (claim.message_id, ended.message_id):
        with pytest.raises(MessageNotQueued):
            await change(world, message_id, "new")
        with pytest.raises(MessageNotQueued):
            await withdraw(world, message_id)
    assert (await world.message(claim.message_id)).status == "in_progress"


async def test_a_start_is_estimated_by_what_ended_lately(world: World) -> None:
    session = await world.session()
    waiting = [(await world.accept(session)).message.id for _ in range(3)]

    async def outlook(message_id: object) -> QueueEstimate:
        async with world.database.read() as db:
            message = await messages.get(db, message_id, owner=OWNER)  # type: ignore[arg-type]
            return await estimates.estimate(db, message)

    assert await outlook(waiting[2]) == QueueEstimate(2, None), "nothing ended: unknown"
    for _ in range(6):  # six a minute: one in ten seconds
        await world.answer(await world.session())
    assert await outlook(waiting[0]) == QueueEstimate(0, 0.0)
    assert await outlook(waiting[2]) == QueueEstimate(2, 20.0)
    await world.claim(waiting[0])
    assert await outlook(waiting[0]) == QueueEstimate(0, None), "it has started"
