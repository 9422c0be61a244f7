"""PostgreSQL restarted, cut off, and cut off in the middle of commit 3."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from shared.database import Database, DatabaseAway
from shared.settings import Settings
from shared.store import dispatch
from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.faults.proxy import Proxy
from tests.services import PostgresServer, RedisServer, migrate, wait_until

Making = Callable[[str, str], Cluster]


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path, name="own-postgres") as server:
        yield server


def test_postgresql_may_restart_while_messages_run_wait_and_come(
    make_cluster: Making, own_postgres: PostgresServer, redis_server: RedisServer
) -> None:
    url = own_postgres.create_database()
    migrate(url)
    cluster = make_cluster(url, redis_server.url)
    cluster.api()
    cluster.worker()
    client = cluster.client()
    sessions = [client.session() for _ in range(3)]
    texts = [prompt(add_agent("helper"), "delay 0.7") for _ in sessions]
    asked = [client.asking(one, text) for one, text in zip(sessions, texts, strict=True)]
    asked += [client.asking(one, prompt()) for one in sessions]
    for text in texts:
        cluster.model_called(text, 2)
    own_postgres.terminate()
    wait_until(lambda: "the database is away" in cluster.workers[0].output(), "the worker to see")
    own_postgres.start()
    back = time.monotonic()
    answers = [one.result(60) for one in asked]
    assert {answer.status for answer in answers} == {200}
    assert time.monotonic() - back < 15
    # the model was not asked again: what was run was kept until it could be committed
    assert [len(cluster.stub.requests(text)) for text in texts] == [2, 2, 2]
    cluster.check(client)


async def test_who_falls_silent_in_a_transaction_holds_its_locks_for_seconds_only(
    postgres_database: str, redis_server: RedisServer
) -> None:
    settings = Settings(database_url=postgres_database, redis_url=redis_server.url)
    silent, other = Database(settings, name="silent"), Database(settings, name="other")

    async def leads(database: Database) -> bool:
        async with database.begin() as db:
            return await dispatch.lead(db, "a namespace")

    async def lead_and_fall_silent() -> None:
        async with silent.begin() as db:
            assert await dispatch.lead(db, "a namespace")
            assert not await leads(other)
            await asyncio.sleep(16)
            assert await leads(other)
            await db.execute(select(1))

    with pytest.raises(DatabaseAway):
        await lead_and_fall_silent()
    assert await leads(silent), "with another connection"
    await silent.close()
    await other.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", [False, True], ids=["plain", "with a revision"])
def test_a_connection_that_breaks_at_the_commit_of_a_reply_neither_loses_nor_doubles_it(
    make_cluster: Making,
    postgres_database: str,
    redis_server: RedisServer,
    *,
    after: bool,
    change: bool,
) -> None:
    with Proxy(postgres_database) as proxy:
        cluster = make_cluster(postgres_database, redis_server.url)
        cluster.api()
        worker = cluster.worker(VIBECODER_DATABASE_URL=proxy.url(postgres_database))
        client = cluster.client()
        session = client.session()
        stored = b"INSERT INTO message_responses"
        # without a change of the code the statement is the transaction
        proxy.cut_at(stored, b"COMMIT" if change else stored, after=after)
        text = prompt(add_agent("helper")) if change else prompt()
        answer = client.ask(session, text)
        assert (answer.status, proxy.cuts) == (200, 1)
        assert answer.seconds < 1.9  # announced, not found by asking every 2 s
        assert cluster.outcomes(answer.message_id) == ["completed"]
        assert len(cluster.stub.requests(text)) == (2 if change else 1)
        assert client.ask(session, prompt()).status == 200
        wait_until(lambda: not cluster.stale(), "the file to be brought up to date")
        assert worker.running
        cluster.check(client)
        cluster.close()


def test_a_worker_that_is_cut_off_from_postgresql_is_replaced_and_comes_back(
    make_cluster: Making, postgres_database: str, redis_server: RedisServer
) -> None:
    with Proxy(postgres_database) as proxy:
        cluster = make_cluster(postgres_database, redis_server.url)
        cluster.api()
        cluster.worker(VIBECODER_DATABASE_URL=proxy.url(postgres_database))
        client = cluster.client()
        session = client.session()
        text = prompt(add_agent("helper"), "delay 1")
        asked = client.asking(session, text)
        cluster.model_called(text)
        proxy.refuse(refusing=True)
        other = cluster.worker()
        answer = asked.result(60)
        assert cluster.outcomes(answer.message_id) == ["lost", "completed"]
        proxy.refuse(refusing=False)
        other.kill()
        assert client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
        cluster.check(client)
        cluster.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_that_breaks_at_the_commit_of_a_claim_costs_only_time(
    make_cluster: Making, postgres_database: str, redis_server: RedisServer, *, after: bool
) -> None:
    with Proxy(postgres_database) as proxy:
        cluster = make_cluster(postgres_database, redis_server.url)
        cluster.api()
        cluster.worker(VIBECODER_DATABASE_URL=proxy.url(postgres_database))
        client = cluster.client()
        session = client.session()
        proxy.cut_at(b"INSERT INTO attempts", after=after)  # prepared, then run
        text = prompt()
        answer = client.ask(session, text)
        assert (answer.status, proxy.cuts) == (200, 1)
        assert cluster.row(answer.message_id).lost_count == 0
        assert len(cluster.stub.requests(text)) == 1
        cluster.check(client)
        cluster.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("busy", [False, True], ids=["alone", "behind another"])
def test_a_connection_that_breaks_at_the_commit_of_a_post_is_not_noticed_by_its_client(
    make_cluster: Making,
    postgres_database: str,
    redis_server: RedisServer,
    *,
    after: bool,
    busy: bool,
) -> None:
    with Proxy(postgres_database) as proxy:
        cluster = make_cluster(postgres_database, redis_server.url)
        cluster.api(VIBECODER_DATABASE_URL=proxy.url(postgres_database))
        cluster.worker()
        client = cluster.client()
        session = client.session()
        first = prompt("delay 1")
        before = [client.asking(session, first)] if busy else []
        if busy:
            cluster.model_called(first)
        text = prompt()
        proxy.cut_at(b"INSERT INTO messages", b"COMMIT" if busy else b"", after=after)
        answer = client.ask(session, text)
        assert (answer.status, proxy.cuts) == (200, 1)
        assert [running.result(30).status for running in before] == [200] * len(before)
        assert all([one.status for one in sent.answers] == [200] for sent in client.sent)
        assert len(cluster.stub.requests(text)) == 1
        cluster.check(client)
        cluster.close()
