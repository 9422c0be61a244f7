"""What single parts cost that grow with the service: docs/capacity.md computes with these.

PostgreSQL's and Redis' CPU is read from /proc, in steps of 10 ms: each part is repeated until
that is small beside it.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

import psycopg
import redis
from sqlalchemy.ext.asyncio import AsyncSession

from shared.channels import Channel, Topic
from shared.database import Database
from shared.dialects import sync_engine
from shared.settings import Settings
from shared.store import dispatch, transitions, workers
from shared.store.accept import UnfinishedCount
from shared.store.workers import Process
from tests.benchmarks import modules
from tests.benchmarks.contenders import Ours
from tests.benchmarks.goals import OURS
from tests.benchmarks.results import Results
from tests.benchmarks.rows import fill, filled_id, settings_of
from tests.benchmarks.scenarios import Bench
from tests.benchmarks.stage import Stage
from tests.benchmarks.usage import cpu_s

_SUBSCRIBERS = 20
_LEASE_S = 3600

Step = Callable[[AsyncSession], Awaitable[object]]


async def measure(bench: Bench, stage: Stage, ours: Ours, *, scale: float = 1) -> None:
    """Measure all of them; `scale` makes it less, and less exact."""
    await storage(bench, ours, clients=int(100 * scale))
    await unfinished(stage, messages=int(20_000 * scale), times=int(100 * scale))
    await channel(stage, ours, ids=int(10_000 * scale))
    await modules.measure(stage.results.of(OURS))


async def storage(bench: Bench, ours: Ours, *, clients: int) -> None:
    """Weigh what a message leaves in the tables and in the write-ahead log."""
    apart = replace(bench, results=Results())
    with psycopg.connect(ours.settings["VIBECODER_DATABASE_URL"], autocommit=True) as db:
        before = _weight(db)
        await apart.many_clients(ours, clients=clients, messages=10)
        messages, stored, logged = (a - b for a, b in zip(_weight(db), before, strict=True))
    note = bench.results.of(OURS)
    note("stored bytes", [stored / messages])
    note("logged bytes", [logged / messages])


def _weight(db: psycopg.Connection) -> tuple[float, float, float]:
    row = db.execute(
        """SELECT (SELECT count(*) FROM messages),
                  (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables),
                  pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"""
    ).fetchone()
    assert row
    return float(row[0]), float(row[1]), float(row[2])


async def unfinished(stage: Stage, *, messages: int, times: int) -> None:
    """Ask what is asked over and over, beside so many unfinished messages, for CPU per row."""
    url = stage.postgres.create_database(template="migrated")
    fill(url, messages=messages, status="in_progress")
    settings = settings_of({"VIBECODER_DATABASE_URL": url, "VIBECODER_REDIS_URL": stage.redis.url})
    note = stage.results.of(OURS)
    note("us beat", [_beats(stage, settings, times=5 * times)])

    async def count(db: AsyncSession) -> None:
        assert await UnfinishedCount().read(db)

    for name, step in (("counted", count), ("swept", _sweep(settings)), ("overdue", _overdue)):
        note(f"us {name}", [await _cpu_us(stage, settings, step, times=times) / messages])


def _beats(stage: Stage, settings: Settings, *, times: int) -> float:
    """Return PostgreSQL's microseconds for a beat of a worker that runs nothing.

    The worker of all that is filled in gets its lease here too.
    """
    engine = sync_engine(settings, name="bench")
    busy = Process(filled_id("worker"), "bench", 1, "0", 100)
    idle = replace(busy, worker_id=uuid4())
    with engine.begin() as db:
        workers.register(db, busy, lease_s=_LEASE_S)
    used = cpu_s([stage.postgres.pid])
    for _ in range(times):
        with engine.begin() as db:
            workers.beat(db, idle, lease_s=_LEASE_S, running=0)
    # while it is connected: what an ended process used is nobody's until PostgreSQL notices
    used = cpu_s([stage.postgres.pid]) - used
    engine.dispose()
    return used * 1e6 / times


async def _cpu_us(stage: Stage, settings: Settings, step: Step, *, times: int) -> float:
    """Return PostgreSQL's microseconds for a transaction."""
    database = Database(settings, name="bench")
    async with database.begin() as db:
        await step(db)
    used = cpu_s([stage.postgres.pid])
    for _ in range(times):
        async with database.begin() as db:
            await step(db)
    used = cpu_s([stage.postgres.pid]) - used
    await database.close()
    return used * 1e6 / times


def _sweep(settings: Settings) -> Step:
    async def sweep(db: AsyncSession) -> None:
        await dispatch.mark_lost(
            db, waiting=0, enqueued_before_s=5, run_limit_s=2 * _LEASE_S, limit=200
        )
        await dispatch.mark_waiting(db, project_limit=settings.project_concurrency, limit=200)

    return sweep


async def _overdue(db: AsyncSession) -> None:
    await transitions.overdue(db, queue_timeout_s=_LEASE_S, limit=100)


async def channel(stage: Stage, ours: Ours, *, ids: int) -> None:
    """Publish ids that nobody here waits for: what does each cost a listener, and Redis?"""
    settings = settings_of({**ours.settings, "VIBECODER_NAMESPACE": "parts"})
    name, note = f"parts:{Topic.ENDED}", stage.results.of(OURS)
    listening = Channel(settings)
    heard = listening.listen(Topic.ENDED)
    await anext(heard)  # the subscription itself
    with redis.Redis.from_url(stage.redis.url) as client:
        alone = _publish(stage, client, name, ids)
        used = time.process_time()
        for _ in range(ids):
            await anext(heard)
        note("us heard", [(time.process_time() - used) * 1e6 / ids])
        await listening.close()
        others = [client.pubsub() for _ in range(_SUBSCRIBERS)]
        for other in others:
            other.subscribe(name)
        together = _publish(stage, client, name, ids)
        for other in others:
            other.close()
    note("us delivered", [(together - alone) * 1e6 / ids / _SUBSCRIBERS])


def _publish(stage: Stage, client: redis.Redis, name: str, ids: int) -> float:
    """Publish ids one by one, as they end; return the CPU seconds that Redis took."""
    used = cpu_s([stage.redis.pid])
    for _ in range(ids):
        client.publish(name, str(uuid4()))
    return cpu_s([stage.redis.pid]) - used
