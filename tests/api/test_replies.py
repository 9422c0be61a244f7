"""Waiting for a message's end: nothing that ended is missed, nothing waits in vain."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import httpx2
import pytest
from starlette.types import Message

from api.streams import Subscribers
from api.waiting import EndWaiters, wait_for_end
from shared.channels import Channel, Topic
from shared.database import DatabaseAway
from shared.settings import Settings
from tests.api.calls import ASYNC, new_session, send, statuses, wait_for_status
from tests.services import (
    ApiProcess,
    RedisServer,
    WorkerProcess,
    make_schema,
    terminate_all,
    wait_until,
)
from tests.stub_process import StubOpenAI

pytestmark = pytest.mark.timeout(90)


class Ended:
    """What the database says: the messages that have ended, and how often it was asked."""

    def __init__(self) -> None:
        self.ids: set[UUID] = set()
        self.asked = 0

    async def among(self, ids: Sequence[UUID]) -> Sequence[UUID]:
        self.asked += 1
        return [message_id for message_id in ids if message_id in self.ids]


@asynccontextmanager
async def listening(settings: Settings, ended: Ended) -> AsyncIterator[EndWaiters]:
    channel = Channel(settings)
    end_waiters = EndWaiters(channel, ended.among, Subscribers(AsyncMock(), AsyncMock()))
    end_waiters.start()
    yield end_waiters
    await end_waiters.close()
    await channel.close()


async def publish(settings: Settings, message_id: UUID) -> None:
    channel = Channel(settings)
    await channel.publish(Topic.ENDED, [message_id])
    await channel.close()


async def subscribed(settings: Settings, end_waiters: EndWaiters) -> None:
    """Wait until what is published is heard."""
    message_id = uuid4()
    with end_waiters.register(message_id) as ended:
        while not ended.done():
            await publish(settings, message_id)
            await asyncio.sleep(0.02)


async def connected() -> Message:
    """Be a client that stays."""
    await asyncio.Event().wait()
    raise AssertionError


async def disconnected() -> Message:
    """Be a client that has gone."""
    return {"type": "http.disconnect"}


@pytest.fixture
def shared_redis(redis_server: RedisServer) -> Settings:
    return Settings(redis_url=redis_server.url, namespace=f"test-{uuid4()}")


@pytest.fixture
def in_process() -> Settings:
    return Settings(namespace=f"test-{uuid4()}")


@pytest.fixture
def told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits end by what is published, not by asking every two seconds."""
    monkeypatch.setattr("api.waiting._ASK_S", 3600)


@pytest.mark.usefixtures("told_only")
async def test_a_published_id_wakes_who_waits_for_it_and_nobody_else(in_process: Settings) -> None:
    message_id = uuid4()
    async with listening(in_process, Ended()) as end_waiters:
        await subscribed(in_process, end_waiters)
        with end_waiters.register(message_id) as ended, end_waiters.register(uuid4()) as other:
            await publish(in_process, message_id)
            assert await asyncio.wait_for(ended, 10) is True
            assert not other.done()


@pytest.mark.usefixtures("told_only")
async def test_all_who_wait_for_a_message_are_woken(in_process: Settings) -> None:
    message_id = uuid4()
    async with listening(in_process, Ended()) as end_waiters:
        await subscribed(in_process, end_waiters)
        with end_waiters.register(message_id) as first, end_waiters.register(message_id) as second:
            await publish(in_process, message_id)
            assert await asyncio.wait_for(first, 10) is await asyncio.wait_for(second, 10) is True


async def test_an_end_that_came_before_the_wait_is_found_by_asking(in_process: Settings) -> None:
    message_id, ended = uuid4(), Ended()
    async with listening(in_process, ended) as end_waiters:
        await subscribed(in_process, end_waiters)
        await publish(in_process, message_id)
        await asyncio.sleep(0.2)  # heard, and of no interest yet
        ended.ids.add(message_id)
        with end_waiters.register(message_id) as future:
            assert await asyncio.wait_for(future, 20) is True


@pytest.mark.services
async def test_an_id_lost_in_a_reconnect_is_found_by_asking(
    tmp_path: Path, told_only: None
) -> None:
    message_id, ended = uuid4(), Ended()
    with RedisServer(tmp_path) as server:
        settings = Settings(redis_url=server.url, namespace=f"test-{uuid4()}")
        async with listening(settings, ended) as end_waiters:
            await subscribed(settings, end_waiters)
            with end_waiters.register(message_id) as future:
                await asyncio.to_thread(server.kill)
                ended.ids.add(message_id)  # ended while nobody could hear it
                await publish(settings, message_id)
                await asyncio.to_thread(server.start)
                assert await asyncio.wait_for(future, 20) is True
            await asyncio.wait_for(subscribed(settings, end_waiters), 20)


async def test_the_database_is_not_asked_when_nobody_waits(
    in_process: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.waiting._ASK_S", 0.01)
    ended = Ended()
    async with listening(in_process, ended) as end_waiters:
        await subscribed(in_process, end_waiters)
        asked = ended.asked
        await asyncio.sleep(0.1)
        assert ended.asked == asked


async def test_a_database_that_is_away_is_asked_again(in_process: Settings) -> None:
    message_id = uuid4()

    class Away(Ended):
        async def among(self, ids: Sequence[UUID]) -> Sequence[UUID]:
            found = await super().among(ids)
            if self.asked < 3:
                raise DatabaseAway
            return found

    ended = Away()
    ended.ids.add(message_id)
    async with listening(in_process, ended) as end_waiters:
        with end_waiters.register(message_id) as future:
            assert await asyncio.wait_for(future, 20) is True
        await subscribed(in_process, end_waiters)
    assert ended.asked == 3


async def test_giving_up_ends_every_wait_and_those_that_begin_afterwards(
    in_process: Settings,
) -> None:
    async with listening(in_process, Ended()) as end_waiters:
        with end_waiters.register(uuid4()) as waiting:
            threading.Thread(target=end_waiters.abort_from_signal).start()
            assert await asyncio.wait_for(waiting, 10) is False
        with end_waiters.register(uuid4()) as late:
            assert await asyncio.wait_for(late, 10) is False


async def test_a_wait_ends_when_the_hint_failed_or_the_client_has_gone(
    in_process: Settings,
) -> None:
    loop = asyncio.get_running_loop()
    async with listening(in_process, Ended()) as end_waiters:
        for sent, receive, seconds in (
            (False, connected, 30),
            (True, connected, 0.2),
            (True, disconnected, 30),
        ):
            hint: asyncio.Future[bool] = loop.create_future()
            loop.call_later(0.05, hint.set_result, sent)
            begun = loop.time()
            with end_waiters.register(uuid4()) as ended:
                await wait_for_end(ended, seconds=seconds, receive=receive, enqueued=hint)
            took = loop.time() - begun
            assert took >= 0.2 if seconds == 0.2 else took < 15


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, stub: StubOpenAI
) -> Iterator[tuple[ApiProcess, ApiProcess, WorkerProcess]]:
    """Give two API processes of one service and its worker, on SQLite and a real Redis."""
    directory = tmp_path_factory.mktemp("processes")
    settings = {
        "VIBECODER_REDIS_URL": redis_server.url,
        "VIBECODER_DATABASE_URL": f"sqlite:///{directory / 'vibecoder.db'}",
        "VIBECODER_DATA_DIR": str(directory),
        "VIBECODER_NAMESPACE": f"test-{uuid4()}",
        "OPENAI_BASE_URL": stub.base_url,
    }
    make_schema(settings["VIBECODER_DATABASE_URL"])
    one, other = (ApiProcess(directory, settings, name=f"api-{n}") for n in range(2))
    made = (one, other, WorkerProcess(directory, settings))
    try:
        yield made
    finally:
        terminate_all(made)


@pytest.fixture
def apis(
    processes: tuple[ApiProcess, ApiProcess, WorkerProcess],
) -> tuple[ApiProcess, ApiProcess]:
    """Give both API processes, started again if a test has stopped them."""
    started = [process for process in processes if not process.running]
    for process in started:
        process.launch()
    for process in started:
        process.wait_ready()
    return processes[:2]


def runs(client: httpx2.Client, session_id: str) -> bool:
    return statuses(client, session_id) == ["in_progress"]


def client_of(api: ApiProcess) -> httpx2.Client:
    return httpx2.Client(base_url=api.url, timeout=30, trust_env=False)


def test_who_waits_at_another_api_process_is_answered_too(
    apis: tuple[ApiProcess, ApiProcess],
) -> None:
    with (
        client_of(apis[0]) as here,
        client_of(apis[1]) as there,
        ThreadPoolExecutor() as threads,
    ):
        key = {"Idempotency-Key": "same"}
        session_id = new_session(here)
        prompt = "[[delay 1]] slowly"
        first = threads.submit(send, here, session_id, prompt, key)
        wait_until(lambda: statuses(there, session_id) != [], "the message to be accepted")
        second = threads.submit(send, there, session_id, prompt, key)
        [message] = there.get(f"/sessions/{session_id}/messages").json()
        path = f"/messages/{message['message_id']}"
        third = there.get(path, headers={"Prefer": "wait=10"})
        assert first.result().json() == second.result().json() == third.json()
        assert third.json()["status"] == "completed"


def test_an_api_process_that_is_told_to_stop_answers_202_and_ends_at_once(
    apis: tuple[ApiProcess, ApiProcess],
) -> None:
    api, other = apis
    with client_of(api) as here, client_of(other) as there, ThreadPoolExecutor() as threads:
        session_ids = [new_session(here) for _ in range(3)]
        waiting = [threads.submit(send, here, each, "[[delay 5]]") for each in session_ids]
        for each in session_ids:
            wait_until(partial(runs, there, each), "the message to run")
        api.send_signal(signal.SIGTERM)
        answers = [each.result(30) for each in waiting]
        assert api.process
        assert api.process.wait(30) in (0, -signal.SIGTERM)
        for answer in answers:
            assert answer.status_code == 202
            assert answer.json()["status"] == "in_progress"
            wait_for_status(there, answer.json()["message_id"], "completed")


@pytest.mark.services
def test_a_post_is_answered_202_while_the_broker_is_away(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = f"sqlite:///{tmp_path / 'vibecoder.db'}"
        make_schema(url)
        settings = {"VIBECODER_REDIS_URL": server.url, "VIBECODER_DATABASE_URL": url}
        with ApiProcess(tmp_path, settings) as api, client_of(api) as client:
            session_id = new_session(client)
            for stop in (server.terminate, lambda: None):
                stop()
                begun = time.monotonic()
                answer = send(client, session_id)
                assert time.monotonic() - begun < Settings().sync_wait_s / 2
                assert (answer.status_code, answer.json()["status"]) == (202, "queued")
                client.delete(f"/sessions/{session_id}")
            assert send(client, session_id, headers=ASYNC).json()["position"] == 0
