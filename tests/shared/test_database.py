"""Transactions: committed or rolled back, repeated where that is safe, timed by the database."""

import asyncio
import time

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from structlog.testing import capture_logs

from shared.database import CommitUnknown, Database, DatabaseAway, retried, until_done
from shared.dialects import Postgresql, clock
from shared.settings import Settings
from shared.store import projects
from shared.tables import Project
from tests.services import PostgresServer
from tests.shared.world import ON_POSTGRESQL, ON_SQLITE, OWNER, World


async def test_an_exception_rolls_everything_back(world: World) -> None:
    project = await world.project()

    async def step() -> None:
        async with world.database.begin() as db:
            await projects.mark_deleted(db, await projects.lock(db, project.id))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await step()
    async with world.database.read() as db:
        assert (await projects.get(db, project.id, owner=OWNER)).deleted_at is None


async def test_the_clock_is_the_databases_and_goes_on_within_a_transaction(
    database: Database,
) -> None:
    async with database.begin() as db:
        first = await db.scalar(select(clock()))
        await asyncio.sleep(0.1)
        second = await db.scalar(select(clock()))
    assert first is not None
    assert second is not None
    assert 0.05 < second - first < 5
    assert abs(first - time.time()) < 5


async def test_a_read_sees_the_latest_and_a_snapshot_one_state(world: World) -> None:
    count = text("SELECT count(*) FROM projects")
    async with world.database.snapshot() as db:
        assert await db.scalar(count) == 0
        await world.project()
        assert await db.scalar(count) == 0
    async with world.database.read() as db:
        assert await db.scalar(count) == 1


async def test_what_a_client_wrote_stands_in_no_error(world: World) -> None:
    with pytest.raises(DBAPIError) as raised:
        async with world.database.begin() as db:
            await db.execute(text("SELECT :prompt FROM nowhere"), {"prompt": "my secret"})
    assert "my secret" not in str(raised.value)


@ON_SQLITE
async def test_writers_in_other_connections_wait_for_the_file(world: World) -> None:
    others = [Database(world.settings, name="t") for _ in range(3)]
    await asyncio.gather(*(World(other, world.settings).project() for other in others * 5))
    assert await world.count(Project) == 15
    for other in others:
        await other.close()


async def test_a_transaction_cancelled_at_any_moment_leaves_no_lock_and_no_error_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the end of a process; whoever writes next would wait for such a lock, and fail."""
    for attempt in range(80):
        writing = asyncio.create_task(_write(world))
        await asyncio.sleep(0.01 * attempt / 80)
        writing.cancel()
        await asyncio.wait([writing])
        assert writing.cancelled()
        async with asyncio.timeout(3):  # while the task still knows what it was doing
            await world.project()
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def _write(world: World) -> None:
    while True:
        await world.project()


@ON_SQLITE
async def test_a_file_that_stays_locked_is_an_error_that_passes(world: World) -> None:
    settings = world.settings.model_copy(update={"lease_s": 0.2})
    other = Database(settings, name="t")
    async with world.database.begin() as db:
        await db.execute(text("DELETE FROM workers"))
        with pytest.raises(DatabaseAway):
            await World(other, settings).project()
    await other.close()


async def test_what_passes_is_tried_again_and_what_does_not_is_not() -> None:
    passing, failing = DatabaseAway(), RuntimeError()
    errors: list[Exception] = [passing, passing]
    tries = 0

    @retried
    async def step() -> str:
        nonlocal tries
        tries += 1
        if errors:
            raise errors.pop()
        return "done"

    assert await step() == "done"
    assert tries == 3
    errors[:] = [failing]
    with pytest.raises(RuntimeError):
        await step()
    assert tries == 4
    errors[:] = [passing] * 9
    with pytest.raises(DatabaseAway):
        await step()
    assert tries == 8


async def test_a_commit_of_unknown_outcome_is_repeated_only_where_that_is_said() -> None:
    left = [CommitUnknown()]

    async def step() -> str:
        if left:
            raise left.pop()
        return "done"

    with pytest.raises(CommitUnknown):
        await retried(step)()
    left[:] = [CommitUnknown()]
    with capture_logs():
        assert await until_done(step) == "done"


async def test_waiting_for_the_database_has_an_end() -> None:
    async def step() -> None:
        raise DatabaseAway

    with capture_logs() as logs, pytest.raises(DatabaseAway):
        await until_done(step, limit_s=0.5)
    assert len(logs) == 1


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    nowhere = Settings(
        database_url="postgresql://postgres@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0"
    )
    database = Database(nowhere, name="t")
    with pytest.raises(DatabaseAway):
        async with database.begin():
            pass
    await database.close()


class _Refusal(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "passes"),
    [
        (None, True),
        ("40001", True),
        ("40P01", True),
        ("53100", True),
        ("53300", True),
        ("57014", True),
        ("57P03", True),
        ("25006", True),
        ("42P01", False),
        ("23505", False),
        ("22003", False),
    ],
)
def test_refusals_of_the_moment_pass_and_others_do_not(
    sqlstate: str | None, *, passes: bool
) -> None:
    error = OperationalError("x", {}, _Refusal(sqlstate))
    assert Postgresql().will_pass(error) is passes


@ON_POSTGRESQL
async def test_the_options_of_the_url_are_kept_and_ours_are_added(settings: Settings) -> None:
    query = "?options=-c%20statement_timeout%3D7s&application_name=mine"
    theirs = settings.model_copy(update={"database_url": f"{settings.database_url}{query}"})
    database = Database(theirs, name="t")
    async with database.read() as db:
        shown = {
            name: await db.scalar(text(f"SHOW {name}"))
            for name in ("statement_timeout", "application_name", "TimeZone")
        }
    await database.close()
    assert shown == {"statement_timeout": "7s", "application_name": "mine", "TimeZone": "UTC"}


@ON_POSTGRESQL
async def test_a_pool_is_bounded_and_gives_back_what_was_idle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.settings.model_copy(update={"database_pool": 3})
    database = Database(settings, name="pool")
    connected = text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%-pool'")

    async def ask() -> int:
        async with database.read() as db:
            await db.execute(text("SELECT pg_sleep(0.05)"))
            return await db.scalar(connected) or 0

    assert max(await asyncio.gather(*(ask() for _ in range(9)))) == 3
    monkeypatch.setattr("shared.database._IDLE_S", 0.0)
    await ask()
    await ask()
    async with world.database.read() as db:
        assert await db.scalar(connected) == 1
    await database.close()


async def test_idle_connections_are_closed_while_others_take_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database._IDLE_S", 0.0)

    async def ask() -> None:
        for turns in range(40):
            async with database.read() as db:
                await db.execute(text("SELECT 1"))
            for _ in range(turns % 4):
                await asyncio.sleep(0)

    await asyncio.gather(*(ask() for _ in range(4)))
    assert database.pool.in_use() == 0


@ON_POSTGRESQL
async def test_a_connection_that_was_cut_is_replaced(
    world: World, postgres_server: PostgresServer
) -> None:
    await world.project()
    cut(postgres_server, world.settings)
    tries = 0

    @retried
    async def step() -> None:
        nonlocal tries
        tries += 1
        await world.project()

    await step()
    assert tries == 2
    assert await world.count(Project) == 2


@ON_POSTGRESQL
async def test_when_all_connections_were_cut_the_next_try_has_a_new_one(
    world: World, postgres_server: PostgresServer
) -> None:
    everybody = asyncio.Barrier(5)
    tries = 0

    async def connect() -> None:
        async with world.database.begin() as db:
            await db.execute(text("SELECT 1"))
            await everybody.wait()

    @retried
    async def step() -> None:
        nonlocal tries
        tries += 1
        async with world.database.begin() as db:
            await db.execute(text("SELECT 1"))

    await asyncio.gather(*(connect() for _ in range(5)))
    cut(postgres_server, world.settings)
    await step()
    assert tries == 2


@ON_POSTGRESQL
async def test_a_connection_that_is_cut_before_the_commit_leaves_its_outcome_unknown(
    world: World, postgres_server: PostgresServer
) -> None:
    async def step() -> None:
        async with world.database.begin() as db:
            await db.execute(text("DELETE FROM workers"))
            cut(postgres_server, world.settings)

    with pytest.raises(CommitUnknown):
        await step()


def cut(server: PostgresServer, settings: Settings) -> None:
    """End all connections to the database, as a restart does."""
    assert settings.database_url is not None
    name = settings.database_url.rpartition("/")[2]
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )
