"""The database is all that is backed up: restored into an empty system, conversations go on."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.api.calls import ASYNC, new_session, send, statuses, wait_for_status
from tests.faults.invariants import read_record, violations
from tests.services import (
    ApiProcess,
    PostgresServer,
    RedisServer,
    WorkerProcess,
    clean_environment,
    wait_until,
)
from tests.stub_process import StubOpenAI


@pytest.fixture
def stub() -> Iterator[StubOpenAI]:
    with StubOpenAI() as stub:
        yield stub


@contextmanager
def system(directory: Path, database: str, redis: str, stub: StubOpenAI) -> Iterator[httpx2.Client]:
    """Serve with an API process and a worker that have nothing but this database."""
    settings = {
        "VIBECODER_DATABASE_URL": database,
        "VIBECODER_REDIS_URL": redis,
        "VIBECODER_NAMESPACE": f"backup-{uuid4().hex[:8]}",
        "VIBECODER_LEASE_S": "2",
        "VIBECODER_HEARTBEAT_S": "0.5",
        "OPENAI_BASE_URL": stub.base_url,
    }
    with ExitStack() as stack:
        api, worker = ApiProcess(directory, settings), WorkerProcess(directory, settings)
        for service in (api, worker):
            service.launch()
            stack.callback(service.kill)
        for service in (api, worker):
            service.wait_ready()
        yield stack.enter_context(httpx2.Client(base_url=api.url, timeout=60, trust_env=False))


def run(server: PostgresServer, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [server.programs / program, *arguments],
        check=False,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_backup_restored_into_an_empty_system_goes_on_with_every_conversation(
    postgres_server: PostgresServer,
    postgres_database: str,
    redis_server: RedisServer,
    stub: StubOpenAI,
    tmp_path: Path,
) -> None:
    backup = tmp_path / "vibecoder.dump"
    with system(tmp_path / "old", postgres_database, redis_server.url, stub) as client:
        session_id = new_session(client)
        first = send(client, session_id, "first").json()
        assert first["reply"].startswith("echo 1: ")
        running = send(client, session_id, "[[hang times 1]]", headers=ASYNC).json()["message_id"]
        queued = send(client, session_id, "third", headers=ASYNC).json()["message_id"]
        wait_until(lambda: bool(stub.requests("[[hang times 1]]")), "the second to run")
        run(postgres_server, "pg_dump", "-Fc", f"--file={backup}", postgres_database)
    empty = postgres_server.create_database()
    run(postgres_server, "pg_restore", "--no-owner", f"--dbname={empty}", str(backup))
    with system(tmp_path / "new", empty, redis_server.url, stub) as client:
        shown = client.get(f"/messages/{first['message_id']}").json()
        assert shown == first
        wait_for_status(client, running, "completed")  # by a worker that was never asked
        wait_for_status(client, queued, "completed")
        answer = send(client, session_id, "fourth").json()
        assert answer["reply"].startswith("echo 7: "), "the model remembers all that was said"
        assert statuses(client, session_id) == ["completed"] * 4
    record = read_record(empty)
    assert violations(record) == []
    outcomes = [attempt.outcome for attempt in record.attempts_of(UUID(running))]
    assert outcomes == ["lost", "completed"]
