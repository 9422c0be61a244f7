"""A worker process by itself: the commands that start it, and when it takes a hint."""

import base64
import itertools
import json
import statistics
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from redis import Redis
from typing_extensions import override

from tests.api.calls import ASYNC, new_session, send
from tests.services import ApiProcess, RedisServer, WorkerProcess, make_schema, wait_until

pytestmark = pytest.mark.services


class CeleryCommand(WorkerProcess):
    """The same by Celery's own command line."""

    @override
    def command(self) -> list[str]:
        options = ["--without-gossip", "--without-mingle"]
        return [sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a Redis that a test may restart."""
    with RedisServer(tmp_path_factory.mktemp("redis"), name="of-its-own") as redis:
        yield redis


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[ApiProcess]:
    """Give an API process without any worker."""
    directory = tmp_path_factory.mktemp("commands")
    settings = {
        "VIBECODER_DATABASE_URL": f"sqlite:///{directory / 'vibecoder.db'}",
        "VIBECODER_REDIS_URL": redis.url,
        "VIBECODER_NAMESPACE": f"test-{uuid4()}",
        "VIBECODER_WORKER_CONCURRENCY": "1",
    }
    make_schema(settings["VIBECODER_DATABASE_URL"])
    with ApiProcess(directory, settings) as api:
        yield api


@pytest.fixture
def client(api: ApiProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client:
        yield client


def test_a_worker_that_celerys_command_starts_answers_and_ends_when_asked(
    api: ApiProcess, client: httpx2.Client, tmp_path: Path
) -> None:
    with CeleryCommand(tmp_path, api.settings) as worker:
        assert send(client, new_session(client)).status_code == 200
        assert worker.terminate() == 0


def test_a_slot_that_becomes_free_is_used_at_once_also_after_a_restart_of_redis(
    api: ApiProcess, client: httpx2.Client, redis: RedisServer, tmp_path: Path
) -> None:
    with WorkerProcess(tmp_path, api.settings) as worker:
        # Celery's loop would look each second
        assert median_gap(client) < 0.3
        redis.restart()
        wait_until(
            lambda: send(client, new_session(client)).status_code == 200,
            "the worker to come back",
            timeout=30,
        )
        assert median_gap(client) < 0.3
        assert worker.terminate() == 0


def median_gap(client: httpx2.Client) -> float:
    """Have nine sessions' messages wait for the only slot; return the seconds between two runs."""
    sessions = [new_session(client) for _ in range(9)]
    ids = [send(client, each, headers=ASYNC).json()["message_id"] for each in sessions]
    ended = [client.get(f"/messages/{each}", headers={"Prefer": "wait=20"}) for each in ids]
    messages = sorted((answer.json() for answer in ended), key=lambda of: str(of["ended_at"]))
    gaps = [
        datetime.fromisoformat(after["claimed_at"]) - datetime.fromisoformat(before["ended_at"])
        for before, after in itertools.pairwise(messages)
    ]
    return statistics.median(gap.total_seconds() for gap in gaps)


def test_a_malformed_task_is_dropped_and_the_worker_goes_on(
    api: ApiProcess, redis: RedisServer, tmp_path: Path
) -> None:
    namespace = api.settings["VIBECODER_NAMESPACE"]
    queue = f"{namespace}:{namespace}.messages"
    with (
        WorkerProcess(tmp_path, api.settings) as worker,
        httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client,
        Redis.from_url(redis.url) as broker,
    ):
        session_id = new_session(client)
        for count, task in enumerate(MALFORMED, 1):
            broker.lpush(queue, task)
            wait_until(lambda: broker.llen(queue) == 0, "an empty queue")
            assert send(client, session_id, "hello").json()["status"] == "completed", task
            assert worker.running
            said = worker.output()
            assert sum(said.count(words) for words in DROPPED) >= count, task


def _task(*, arguments: object = (), name: object = "message.run", body: str = "") -> str:
    content = json.dumps([arguments, {}, {}])
    headers = {"task": name, "id": "x", "lang": "py", "root_id": "x"}
    properties = {
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": "messages"},
        "delivery_tag": "tag",
    }
    return json.dumps(
        {
            "body": body or base64.b64encode(content.encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": properties,
        }
    )


DROPPED = ("malformed task, dropped", "Can't decode message body", "unregistered task")
"""The last two are Celery's own words."""
MALFORMED = [
    "no JSON",
    "[]",
    "{}",
    json.dumps({"body": "", "properties": {}}),
    _task(arguments=["no id"]),
    _task(arguments=[7]),
    _task(body="no base64"),
    _task(name="message.other"),
]
