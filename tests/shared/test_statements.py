"""What a message costs the database, counted in statements: each is a round trip."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import event, select

from shared.database import Database
from shared.store import messages
from tests.shared.world import World

ACCEPT, CLAIM, READ = 3, 4, 1
COMPLETE = 5 + 2  # the prompt and its reply are rows that are sent one by one


@pytest.fixture
async def sent(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the statements that a driver is given, without the transactions' own."""
    statements: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA")):
            statements.append(statement)

    execute = psycopg.AsyncCursor.execute

    async def noted(cursor: Any, statement: Any, *args: Any, **options: Any) -> Any:
        note(str(statement))
        return await execute(cursor, statement, *args, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", noted)
    if database.dialect == "sqlite":
        for engine in (database._writer, database._reader):

            @event.listens_for(engine.sync_engine, "connect")
            def connected(connection: Any, _record: Any) -> None:
                connection.driver_connection._conn.set_trace_callback(note)

    async with database.read() as db:  # a first connection asks the server what it is
        await db.execute(select(1))
    return statements


def taken(sent: list[str]) -> list[str]:
    """Take what was sent up to now."""
    found = list(sent)
    sent.clear()
    return found


@pytest.mark.parametrize("before", [0, 3], ids=["the first", "the fourth"])
async def test_a_message_costs_the_same_few_statements_whichever_it_is(
    world: World, sent: list[str], before: int
) -> None:
    session, worker = await world.session(), await world.worker()
    for _ in range(before):
        await world.answer(session)
    taken(sent)
    accepted = await world.accept(session)
    accepting = taken(sent)
    claim = await world.claim(accepted.message, worker)
    claiming = taken(sent)
    ended = await world.complete(claim)
    completing = taken(sent)
    async with world.database.read() as db:
        await messages.reread(db, accepted.message)
    reading = taken(sent)
    assert accepted.ended.heads == (accepted.message.id,)
    assert ended.heads == ()
    assert len(accepting) == ACCEPT, accepting
    assert len(claiming) == CLAIM, claiming
    assert len(completing) == COMPLETE, completing
    assert len(reading) == READ, reading


async def test_an_idempotency_key_costs_no_statement_of_its_own(
    world: World, sent: list[str]
) -> None:
    session = await world.session()
    taken(sent)
    await world.accept(session, key="once")
    accepting = taken(sent)
    assert len(accepting) == ACCEPT, accepting


async def test_the_next_head_costs_one_statement(world: World, sent: list[str]) -> None:
    session, worker = await world.session(), await world.worker()
    first = (await world.accept(session)).message
    second = (await world.accept(session)).message
    claim = await world.claim(first, worker)
    taken(sent)
    ended = await world.complete(claim)
    completing = taken(sent)
    assert ended.heads == (second.id,)
    assert len(completing) == COMPLETE + 1, completing
