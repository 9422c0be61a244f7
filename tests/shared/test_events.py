"""Events are numbered without gaps, come from one attempt at a time, and end with the message."""

import asyncio

import pytest
from sqlalchemy import select

from shared.database import Database
from shared.store import claims, events, transitions
from shared.store.events import Batch, Page, RunEvent
from shared.store.transitions import Claim, LeaseLost
from shared.tables import Event, EventKind, Message
from tests.shared.statements import counted
from tests.shared.world import BOOM, ON_POSTGRESQL, Spent, World, outcome


def batch(claim: Claim, *texts: str, first: int | None = None) -> Batch:
    """Make what a run wrote; the first event follows the claim unless a number is given."""
    start = first or claim.event_count + 1
    told = [
        RunEvent(seq, EventKind.TEXT, {"call": 1, "text": text}, 1.0)
        for seq, text in enumerate(texts, start)
    ]
    return Batch(claim.message_id, claim.attempt, told)


async def append(world: World, *told: Batch) -> None:
    async with world.database.begin() as db:
        await events.append(db, told)


async def read(world: World, claim: Claim, *, after: int = 0, limit: int = 100) -> Page:
    async with world.database.read() as db:
        (page,) = await events.pages(db, [(claim.message_id, after)], limit=limit)
        return page


async def kinds(world: World, claim: Claim) -> list[tuple[int, str]]:
    return [(told.seq, str(told.kind)) for told in (await read(world, claim)).events]


async def complete(world: World, claim: Claim, told: Batch | None) -> None:
    async with world.database.begin() as db:
        await transitions.complete(
            db, claim, outcome(claim), [Spent()], limit=world.cap, pending_events=told
        )


async def test_a_message_that_nobody_watches_has_events_and_no_row_of_them(world: World) -> None:
    session = await world.session()
    accepted = (await world.accept(session)).message
    async with world.database.read() as db:
        (page,) = await events.pages(db, [(accepted.id, 0)], limit=9)
    assert [(told.seq, told.kind) for told in page.events] == [(1, EventKind.QUEUED)]
    claim = await world.claim(accepted)
    await world.complete(claim)
    assert await kinds(world, claim) == [(1, "queued"), (2, "claimed"), (3, "completed")]
    assert (await read(world, claim)).ended
    assert await world.count(Event) == 0


async def test_what_a_run_reports_stands_between_its_claim_and_the_end(world: World) -> None:
    claim = await world.claimed()
    await append(world, batch(claim, "one", "two"))
    assert await kinds(world, claim) == [(1, "queued"), (2, "claimed"), (3, "text"), (4, "text")]
    assert not (await read(world, claim)).ended
    await complete(world, claim, batch(claim, "three", first=5))
    found = await read(world, claim, after=2)
    assert [(told.seq, told.data.get("text")) for told in found.events] == [
        (3, "one"),
        (4, "two"),
        (5, "three"),
        (6, None),
    ]
    assert found.ended
    assert found.events[-1].kind is EventKind.COMPLETED


async def test_storing_again_what_may_have_been_stored_changes_nothing(world: World) -> None:
    claim = await world.claimed()
    for _ in range(2):
        await append(world, batch(claim, "one", "two"))
    await complete(world, claim, batch(claim, "one", "two", "three"))
    assert [seq for seq, _ in await kinds(world, claim)] == [1, 2, 3, 4, 5, 6]


async def test_the_next_attempt_goes_on_with_the_numbers_and_the_lost_one_is_dropped(
    world: World,
) -> None:
    lost = await world.claimed()
    await append(world, batch(lost, "half of"))
    await world.renew((await world.message(lost.message_id)).worker_id, lease_s=-1)  # type: ignore[arg-type]
    claim = await world.claim(lost.message_id)
    assert (claim.attempt, claim.event_count) == (2, 4)
    await append(world, batch(lost, "late", first=4))
    with pytest.raises(LeaseLost):
        await complete(world, lost, batch(lost, "late", first=4))
    await append(world, batch(claim, "whole"))
    await world.complete(claim)
    found = (await read(world, claim)).events
    assert [(told.seq, str(told.kind), told.attempt) for told in found] == [
        (1, "queued", 0),
        (2, "claimed", 1),
        (3, "text", 1),
        (4, "claimed", 2),
        (5, "text", 2),
        (6, "completed", 2),
    ]
    assert found[3].data == {"previous_outcome": "lost"}


async def test_events_of_a_message_that_ended_are_dropped(world: World) -> None:
    claim = await world.claimed()
    await append(world, batch(claim, "one"))
    await world.cancel(claim.message_id)
    await append(world, batch(claim, "two", first=4))
    assert await kinds(world, claim) == [
        (1, "queued"),
        (2, "claimed"),
        (3, "text"),
        (4, "cancelled"),
    ]


async def test_a_batch_with_an_attempt_that_is_over_stores_the_others(world: World) -> None:
    claims = [await world.claimed() for _ in range(3)]
    await world.cancel(claims[1].message_id)
    async with world.database.begin() as db:
        await events.append(db, [batch(claim, "one", "two") for claim in claims])
    for claim in claims:
        over = claim is claims[1]
        found = await kinds(world, claim)
        assert found[2:] == ([(3, "cancelled")] if over else [(3, "text"), (4, "text")])


@pytest.mark.parametrize("how", ["cancel", "clear", "delete", "fail"])
async def test_every_end_has_the_last_number(world: World, how: str) -> None:
    project = await world.project()
    session = await world.session(project)
    claim = await world.claimed(session)
    await append(world, batch(claim, "one"))
    match how:
        case "cancel":
            await world.cancel(claim.message_id)
        case "clear":
            await world.clear(session)
        case "delete":
            await world.delete(project)
        case _:
            async with world.database.begin() as db:
                told = batch(claim, "one", "two")
                await transitions.fail(db, claim, BOOM, [Spent()], limit=1, pending_events=told)
    found = await read(world, claim)
    assert [told.seq for told in found.events] == list(range(1, len(found.events) + 1))
    assert found.ended


async def test_a_release_and_another_try_keep_what_was_told(world: World) -> None:
    claim = await world.claimed()
    async with world.database.begin() as db:
        again = await claims.run_again(db, claim, [], pending_events=batch(claim, "one"))
    assert again.event_count == 4
    async with world.database.begin() as db:
        await transitions.release(db, again, [], limit=9, pending_events=batch(again, "two"))
    last = await world.claim(claim.message_id)
    await world.complete(last)
    found = (await read(world, last)).events
    assert [str(told.kind) for told in found] == [
        "queued",
        "claimed",
        "text",
        "claimed",
        "text",
        "claimed",
        "completed",
    ]
    assert [told.data.get("previous_outcome") for told in found][3::2] == ["conflict", "released"]


async def test_a_long_story_is_read_in_pages(world: World) -> None:
    claim = await world.claimed()
    await complete(world, claim, batch(claim, *"abcdefg"))
    after, seen = 0, []
    while True:
        page = await read(world, claim, after=after, limit=3)
        seen += [told.seq for told in page.events]
        if page.ended:
            break
        assert page.more
        after = seen[-1]
    assert seen == list(range(1, 11))
    assert (await read(world, claim, after=10)).events == []
    assert (await read(world, claim, after=99)).ended


async def test_what_follows_in_many_messages_is_read_with_one_statement(world: World) -> None:
    claims = [await world.claimed() for _ in range(5)]
    for number, claim in enumerate(claims[1:], 1):
        await append(world, batch(claim, *"abc"[:number]))
    asked = [(claim.message_id, 2) for claim in claims] + [(claims[4].message_id, 4)]
    async with world.database.read() as db:
        with counted() as reading:
            pages = await events.pages(db, asked, limit=2)
    assert len(reading) == 1, reading
    texts = [[told.data["text"] for told in page.events] for page in pages]
    assert texts == [[], ["a"], ["a", "b"], ["a", "b"], ["a", "b"], ["c"]]
    assert [page.more for page in pages] == [False, False, False, True, True, False]


async def test_who_watches_from_the_start_costs_one_statement_a_page(world: World) -> None:
    queued = (await world.accept(await world.session())).message
    claim = await world.claimed()
    async with world.database.read() as db:
        with counted() as reading:
            waiting, running = await events.pages(
                db, [(queued.id, 0), (claim.message_id, 0)], limit=9
            )
    assert len(reading) == 1, reading
    assert [told.kind for told in waiting.events] == ["queued"]
    assert (waiting.state.position, waiting.state.before) == (0, 0)
    assert [told.kind for told in running.events] == ["queued", "claimed"]
    assert running.state.position is None, "it waits no more"


@ON_POSTGRESQL
async def test_batches_lock_their_messages_in_the_order_of_their_ids(world: World) -> None:
    claims = sorted([await world.claimed() for _ in range(3)], key=lambda claim: claim.message_id)
    told = [batch(claim, "a") for claim in reversed(claims)]
    async with world.database.begin() as db:
        lock = select(Message.id).with_for_update(nowait=True)
        await db.execute(lock.where(Message.id == claims[0].message_id))
        storing = asyncio.create_task(append(world, *told))
        await asyncio.sleep(0.3)
        assert not storing.done(), "it waits for the first"
        await db.execute(lock.where(Message.id == claims[2].message_id))  # and has no other
    await storing
    for claim in claims:
        assert [told.kind for told in (await read(world, claim, after=2)).events] == ["text"]


async def test_what_a_model_writes_is_stored_whatever_it_is(world: World) -> None:
    claim = await world.claimed()
    odd = "NUL \x00, half \ud83d, \u2028"
    await append(world, batch(claim, odd))
    assert (await read(world, claim)).events[-1].data["text"] == odd


async def test_to_watch_is_noted_once_and_not_of_what_has_ended(world: World) -> None:
    claim = await world.claimed()
    assert not claim.streamed
    for expected in (True, False):
        async with world.database.begin() as db:
            assert await events.want(db, claim.message_id) is expected
    message = await world.message(claim.message_id)
    assert message.worker_id is not None
    async with world.database.read() as db:
        assert await events.wanted_of(db, message.worker_id) == [claim.message_id]
        assert await events.counts(db, [claim.message_id]) == {claim.message_id: 2}
    await world.complete(claim)
    ended = await world.answer(await world.session())
    async with world.database.begin() as db:
        assert not await events.want(db, ended.message_id)


async def test_a_claim_sees_that_somebody_watches(world: World, database: Database) -> None:
    accepted = (await world.accept(await world.session())).message
    async with database.begin() as db:
        await events.want(db, accepted.id)
    assert (await world.claim(accepted)).streamed
