"""What a message costs the database, counted in statements: each is a round trip."""

import pytest

from shared.store import messages
from tests.shared.statements import counted
from tests.shared.world import World

ACCEPT = {"postgresql": 1, "sqlite": 3}
CLAIM = {"postgresql": 1, "sqlite": 4}
COMPLETE = {"postgresql": 1, "sqlite": 6}
READ = 1
"""A message is four statements of PostgreSQL, the least there can be; to SQLite nothing travels."""
UNUSUAL = {"postgresql": 1 + 3, "sqlite": 6}
"""What it costs to complete what is not usual, before that is done: tried at once, in vain."""


@pytest.mark.parametrize("before", [0, 3], ids=["the first", "the fourth"])
async def test_a_message_costs_the_same_few_statements_whichever_it_is(
    world: World, before: int
) -> None:
    session, worker = await world.session(), await world.worker()
    for _ in range(before):
        await world.answer(session)
    with counted() as accepting:
        accepted = await world.accept(session)
    with counted() as claiming:
        claim = await world.claim(accepted.message, worker)
    with counted() as completing:
        ended = await world.complete(claim, spans=[{"span_id": "span_1"}])
    with counted() as reading:
        async with world.database.single() as db:
            await messages.reread(db, accepted.message.id)
    assert accepted.ended.heads == (accepted.message.id,)
    assert ended.heads == ()
    assert len(accepting) == ACCEPT[world.settings.dialect], accepting
    assert len(claiming) == CLAIM[world.settings.dialect], claiming
    assert len(completing) == COMPLETE[world.settings.dialect], completing
    assert len(reading) == READ, reading


async def test_an_idempotency_key_costs_no_statement_of_its_own(world: World) -> None:
    session = await world.session()
    with counted() as accepting:
        await world.accept(session, key="once")
    assert len(accepting) == ACCEPT[world.settings.dialect], accepting


async def test_only_a_project_with_webhooks_pays_for_them_and_only_one_statement(
    world: World,
) -> None:
    session, worker = await world.session(), await world.worker()
    await world.webhook((await world.project()).id)
    await world.webhook(session.project_id)
    claim = await world.claim((await world.accept(session)).message, worker)
    with counted() as completing:
        ended = await world.complete(claim)
    assert ended.outbox
    assert len(completing) == UNUSUAL[world.settings.dialect] + 1, completing
    elsewhere = await world.claimed()
    with counted() as completing:
        ended = await world.complete(elsewhere)
    assert not ended.outbox
    assert len(completing) == COMPLETE[world.settings.dialect], completing


async def test_the_next_head_costs_one_statement(world: World) -> None:
    session, worker = await world.session(), await world.worker()
    first = (await world.accept(session)).message
    second = (await world.accept(session)).message
    claim = await world.claim(first, worker)
    with counted() as completing:
        ended = await world.complete(claim)
    assert ended.heads == (second.id,)
    assert len(completing) == UNUSUAL[world.settings.dialect] + 1, completing
