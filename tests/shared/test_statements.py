"""What a message costs the database, counted in statements: each is a round trip."""

import pytest

from shared.store import messages
from tests.shared.statements import counted
from tests.shared.world import World

ACCEPT = 3
CLAIM = 3
COMPLETE = 6
READ = 1


def of_message(sent: list[str]) -> list[str]:
    """Leave out the count of all unfinished messages, which a process reads once a second."""
    return [one for one in sent if not one.startswith("SELECT count(messages.id)")]


@pytest.mark.parametrize("before", [0, 3], ids=["the first", "the fourth"])
async def test_a_message_costs_the_same_few_statements_whichever_it_is(
    world: World, before: int
) -> None:
    session, worker = await world.session(), await world.worker()
    for _ in range(before):
        await world.answer(session)
    with counted() as accepting:
        accepted = await world.accept(session)
    accepting = of_message(accepting)
    with counted() as claiming:
        claim = await world.claim(accepted.message, worker)
    with counted() as completing:
        ended = await world.complete(claim, spans=[{"span_id": "span_1"}])
    with counted() as reading:
        async with world.database.read() as db:
            await messages.reread(db, accepted.message.id)
    assert accepted.ended.ready == (accepted.message.id,)
    assert ended.ready == ()
    assert len(accepting) == ACCEPT, accepting
    assert len(claiming) == CLAIM, claiming
    assert len(completing) == COMPLETE, completing
    assert len(reading) == READ, reading


async def test_an_idempotency_key_costs_no_statement_of_its_own(world: World) -> None:
    session = await world.session()
    with counted() as accepting:
        await world.accept(session, key="once")
    assert len(of_message(accepting)) == ACCEPT, accepting


async def test_only_a_project_with_webhooks_pays_for_them_and_only_one_statement(
    world: World,
) -> None:
    session, worker = await world.session(), await world.worker()
    await world.webhook((await world.project()).id)
    await world.webhook(session.project_id)
    claim = await world.claim((await world.accept(session)).message, worker)
    with counted() as completing:
        ended = await world.complete(claim)
    assert ended.has_outbox
    assert len(completing) == COMPLETE + 1, completing
    elsewhere = await world.claimed()
    with counted() as completing:
        ended = await world.complete(elsewhere)
    assert not ended.has_outbox
    assert len(completing) == COMPLETE, completing


async def test_the_next_message_costs_one_statement(world: World) -> None:
    session, worker = await world.session(), await world.worker()
    first = (await world.accept(session)).message
    second = (await world.accept(session)).message
    claim = await world.claim(first, worker)
    with counted() as completing:
        ended = await world.complete(claim)
    assert ended.ready == (second.id,)
    assert len(completing) == COMPLETE + 1, completing
