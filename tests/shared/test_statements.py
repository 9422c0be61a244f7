"""What a message costs the database, counted in statements: each is a round trip."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from shared.database import Database
from shared.store import messages
from tests.shared.world import World

ACCEPT, CLAIM, COMPLETE, READ = 3, 4, 6, 1


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """List the statements that are sent meanwhile, without the transactions' own."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    engines = [engine.sync_engine for engine in (database._writer, database._reader)]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("before", [0, 3], ids=["the first", "the fourth"])
async def test_a_message_costs_the_same_few_statements_whichever_it_is(
    world: World, before: int
) -> None:
    session, worker = await world.session(), await world.worker()
    for _ in range(before):
        await world.answer(session)
    with counted(world.database) as accepting:
        accepted = await world.accept(session)
    with counted(world.database) as claiming:
        claim = await world.claim(accepted.message, worker)
    with counted(world.database) as completing:
        ended = await world.complete(claim, spans=[{"span_id": "span_1"}])
    with counted(world.database) as reading:
        async with world.database.read() as db:
            await messages.reread(db, accepted.message)
    assert accepted.ended.heads == (accepted.message.id,)
    assert ended.heads == ()
    assert len(accepting) == ACCEPT, accepting
    assert len(claiming) == CLAIM, claiming
    assert len(completing) == COMPLETE, completing
    assert len(reading) == READ, reading


async def test_an_idempotency_key_costs_no_statement_of_its_own(world: World) -> None:
    session = await world.session()
    with counted(world.database) as accepting:
        await world.accept(session, key="once")
    assert len(accepting) == ACCEPT, accepting


async def test_the_next_head_costs_one_statement(world: World) -> None:
    session, worker = await world.session(), await world.worker()
    first = (await world.accept(session)).message
    second = (await world.accept(session)).message
    claim = await world.claim(first, worker)
    with counted(world.database) as completing:
        ended = await world.complete(claim)
    assert ended.heads == (second.id,)
    assert len(completing) == COMPLETE + 1, completing
