"""Checks that somebody waits for: ordered, answered, taken once."""

from uuid import UUID, uuid4

from shared.checks import Check, Finding, Report
from shared.store import checks
from tests.shared.world import World

REPORT = Report(
    host="h",
    worker_id=uuid4(),
    generation=1,
    items=2,
    messages=1,
    memory_file="none",
    memory_file_items=None,
    findings=[Finding("item_count_wrong", "Wrong.", message_id=uuid4())],
    mended=[],
)


async def ordered(world: World) -> UUID:
    session = await world.session()
    async with world.database.begin() as db:
        return await checks.order(db, session.id, trace_id="trace_" + "0" * 32)


async def answer(world: World, check_id: UUID) -> None:
    async with world.database.begin() as db:
        await checks.answer(db, check_id, REPORT)


async def take(world: World, check_id: UUID) -> Report | None:
    async with world.database.begin() as db:
        return await checks.take(db, check_id)


async def test_a_report_is_taken_once_and_whole(world: World) -> None:
    check_id = await ordered(world)
    await answer(world, check_id)
    assert await take(world, check_id) == REPORT
    assert await take(world, check_id) is None


async def test_an_order_that_is_given_up_is_gone_and_its_late_report_too(world: World) -> None:
    check_id = await ordered(world)
    assert await take(world, check_id) is None
    async with world.database.read() as db:
        assert await checks.get(db, check_id) is None
    await answer(world, check_id)
    assert await take(world, check_id) is None


async def test_a_report_whose_announcement_was_lost_is_found(world: World) -> None:
    waiting, reported = await ordered(world), await ordered(world)
    await answer(world, reported)
    async with world.database.read() as db:
        assert await checks.answered_among(db, [waiting, reported, uuid4()]) == [reported]


async def test_what_nobody_took_is_forgotten_after_a_while(world: World) -> None:
    old, new = await ordered(world), await ordered(world)
    await world.change(Check, old, created_at=1.0)
    async with world.database.begin() as db:
        await checks.purge(db, ordered_before_s=60)
    async with world.database.read() as db:
        assert await checks.get(db, old) is None
        assert await checks.get(db, new)
