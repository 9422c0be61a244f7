"""With a long past in the database the queue's questions are still answered from its indexes."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from shared.database import Database
from shared.errors import ServiceQueueFull
from shared.settings import Settings
from shared.store import (
    deliveries,
    dispatch,
    estimates,
    messages,
    operations,
    transitions,
    usage,
    webhooks,
)
from shared.store.transitions import Claim
from shared.tables import DeliveryStatus, VibeSession
from tests.shared.world import ON_POSTGRESQL, OWNER, World

PAST = 100_000
WAITING = 1_000
TIMES = 16
"""psycopg prepares what it has run five times, PostgreSQL may keep a plan after five more."""

_FILL = f"""
INSERT INTO messages (id, session_id, project_id, generation, seq, content, model, status, attempt,
    lost_count, conflict_count, created_at, queued_at, ended_at, request_hash, trace_id, diff)
SELECT gen_random_uuid(), s.id, s.project_id, 1, n / s.all_of_them + 1, 'prompt', 'offline',
    CASE WHEN n < {PAST} THEN 'completed' ELSE 'queued' END, 0,
    0, 0, n, extract(epoch from now()), CASE WHEN n < {PAST} THEN n END, '', '', ''
FROM generate_series(0, {PAST + WAITING - 1}) n
JOIN (SELECT id, project_id, row_number() OVER () - 1 AS place, count(*) OVER () AS all_of_them
    FROM sessions) s ON s.place = n % s.all_of_them
"""


_FILL_CALLS = """
INSERT INTO model_calls (message_id, attempt, n, model, started_at, ended_at, project_id, day,
    input_tokens, cached_tokens, output_tokens, reasoning_tokens)
SELECT id, 1, 1, 'offline', 0, 0, project_id, seq % 100, 1, 0, 1, 0
FROM messages
"""


_FILL_DELIVERIES = f"""
INSERT INTO deliveries (id, webhook_id, message_id, status, tries, next_at, created_at)
SELECT gen_random_uuid(), w.id, m.id,
    CASE WHEN m.seq % {TIMES} = 0 THEN 'pending' ELSE 'delivered' END, 1, m.seq, m.seq
FROM messages m JOIN webhooks w ON w.project_id = m.project_id
"""


@ON_POSTGRESQL
async def test_no_verb_reads_all_messages(world: World, settings: Settings) -> None:
    sessions = [await world.session(project) for project in [await world.project()] * 20]
    sessions += [await world.session() for _ in range(20)]
    async with world.database.begin() as db:
        await db.execute(text(_FILL))
        await db.execute(text("UPDATE sessions SET next_seq = 1000000"))
        await db.execute(text(_FILL_CALLS))
    for session in sessions[-5:]:
        await world.webhook(session.project_id)
    async with world.database.begin() as db:
        await db.execute(text(_FILL_DELIVERIES))
    async with world.database.begin() as db:
        await db.execute(text("ANALYZE"))
    await world.database.close()

    before = await scans(settings)
    for verb in verbs(sessions):
        database = Database(settings, name="verb")
        for _ in range(TIMES):
            await verb(World(database, settings))
        await database.close()  # which lets the server count
    assert await scans(settings) == before


def verbs(sessions: list[VibeSession]) -> list[Callable[[World], Awaitable[object]]]:
    fresh = iter(sessions * TIMES)

    async def finish(world: World) -> None:
        worker = await world.worker()
        accepted = await world.accept(next(fresh), on_busy="rollback")
        claim = await world.try_claim(accepted.message.id, worker)
        assert isinstance(claim, Claim)
        await world.complete(claim)

    async def refuse(world: World) -> None:
        world.limit(service_queue_limit=1)
        with pytest.raises(ServiceQueueFull):
            await world.accept(sessions[0])

    async def sweep(world: World) -> None:
        async with world.database.begin() as db:
            await dispatch.mark_lost(db, waiting=0, enqueued_before_s=1, run_limit_s=300, limit=20)
            await dispatch.mark_waiting(db, project_limit=50, limit=20)
            await transitions.overdue(db, queue_timeout_s=600, limit=100)

    async def look(world: World) -> None:
        async with world.database.read() as db:
            await messages.listing(db, sessions[0], after=None, limit=10)
            assert (await estimates.backlog(db)).queued > 0
            for part in (operations.queue, operations.ended, operations.failures):
                await part(db, owner=None)
            await operations.last_failures(db, owner=OWNER)

    async def sum_up(world: World) -> None:
        # not of a session: each has a fortieth of all messages here, for which PostgreSQL reads all
        async with world.database.begin() as db:
            assert await usage.of_project(db, sessions[-1].project_id)
            assert await usage.of_project(db, sessions[0].project_id, days=(7, 7))

    async def deliver(world: World) -> None:
        async with world.database.read() as db:
            busy = [sessions[0].id]
            found = await deliveries.due(db, but_of=busy, at_once=4, limit=4)
            assert await deliveries.overdue_s(db) > 0
        async with world.database.begin() as db:
            taken = await deliveries.take(db, found, lease_s=60)
            await webhooks.deliveries(db, taken[0].webhook_id, after=None, limit=10)
            for tried in taken:
                await deliveries.record(
                    db, tried, DeliveryStatus.DELIVERED, http_status=200, error=None
                )
        assert len(taken) == 4

    return [finish, refuse, sweep, look, sum_up, deliver, lambda world: world.accept(sessions[1])]


async def scans(settings: Settings) -> int:
    """Count the times that tables of messages, calls or deliveries were read from end to end."""
    database = Database(settings, name="scans")
    async with database.read() as db:
        tables = "('messages', 'model_calls', 'deliveries')"
        query = f"SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN {tables}"
        found = await db.scalar(text(query))
    await database.close()
    assert found is not None
    return int(found)
