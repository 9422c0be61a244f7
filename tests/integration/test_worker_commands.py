"""A worker process by itself: the commands that start it, and when it takes a hint."""

import itertools
import statistics
import sys
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from typing_extensions import override

from tests.api.calls import ASYNC, new_session, send
from tests.services import ApiProcess, RedisServer, WorkerProcess, migrate, wait_until

pytestmark = pytest.mark.services


class CeleryCommand(WorkerProcess):
    """The same by Celery's own command line."""

    @override
    def command(self) -> list[str]:
        options = ["--without-gossip", "--without-mingle"]
        return [sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options]


@pytest.mark.parametrize("command", [WorkerProcess, CeleryCommand])
def test_a_worker_answers_however_it_is_started_and_ends_when_asked(
    command: type[WorkerProcess], tmp_path: Path, redis_server: RedisServer
) -> None:
    settings = {
        "VIBECODER_DATABASE_URL": f"sqlite:///{tmp_path / 'vibecoder.db'}",
        "VIBECODER_REDIS_URL": redis_server.url,
        "VIBECODER_NAMESPACE": f"test-{uuid4()}",
    }
    migrate(settings["VIBECODER_DATABASE_URL"])
    with (
        ApiProcess(tmp_path, settings) as api,
        command(tmp_path, settings) as worker,
        httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client,
    ):
        assert send(client, new_session(client)).status_code == 200
        assert worker.terminate() == 0


@pytest.mark.parametrize("restarted", [False, True], ids=["", "after a restart of Redis"])
def test_a_slot_that_becomes_free_is_used_at_once(*, tmp_path: Path, restarted: bool) -> None:
    redis = RedisServer(tmp_path)
    settings = {
        "VIBECODER_DATABASE_URL": f"sqlite:///{tmp_path / 'vibecoder.db'}",
        "VIBECODER_REDIS_URL": redis.url,
        "VIBECODER_NAMESPACE": f"test-{uuid4()}",
        "VIBECODER_WORKER_CONCURRENCY": "1",
    }
    migrate(settings["VIBECODER_DATABASE_URL"])
    with (
        redis,
        ApiProcess(tmp_path, settings) as api,
        WorkerProcess(tmp_path, settings),
        httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client,
    ):
        sessions = [new_session(client) for _ in range(9)]
        if restarted:
            redis.restart()
            wait_until(
                lambda: send(client, new_session(client)).status_code == 200,
                "the worker to come back",
                timeout=30,
            )
        ids = [send(client, each, headers=ASYNC).json()["message_id"] for each in sessions]
        ended = [client.get(f"/messages/{each}", headers={"Prefer": "wait=20"}) for each in ids]
    messages = sorted((answer.json() for answer in ended), key=lambda of: str(of["ended_at"]))
    gaps = [
        datetime.fromisoformat(after["claimed_at"]) - datetime.fromisoformat(before["ended_at"])
        for before, after in itertools.pairwise(messages)
    ]
    # Celery's loop would look each second
    assert statistics.median(gap.total_seconds() for gap in gaps) < 0.3
