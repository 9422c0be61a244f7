"""What `python -m api doctor` says of configurations that work and that do not."""

import io
import resource
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from api.__main__ import main
from api.commands.doctor import Finding, examine
from shared.dialects import sync_engine
from shared.settings import Settings
from shared.store import diagnosis, workers
from shared.store.workers import Process
from shared.version import VERSION
from tests.services import PostgresServer, RedisServer, clean_environment, free_port
from tests.services.process import ROOT


def doctor(**settings: str) -> tuple[int, str]:
    """Do what `python -m api doctor` does; a process would take most of these tests' time."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        for name, value in settings.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main("doctor")
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue()


def doctor_process(**settings: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "api", "doctor"],
        check=False,
        cwd=ROOT,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def problems(settings: Settings) -> dict[str, Finding]:
    return {found.subject: found for found in examine(settings) if found.advice}


@pytest.fixture
def settings(postgres_database: str, redis_server: RedisServer, tmp_path: Path) -> Settings:
    return Settings(
        database_url=postgres_database, redis_url=redis_server.url, data_dir=tmp_path / "data"
    )


def with_worker(settings: Settings, *, version: str = VERSION) -> None:
    process = Process(worker_id=uuid4(), host="here", pid=7, version=version, slots=100)
    engine = sync_engine(settings, name="test")
    with engine.begin() as db:
        workers.register(db, process, lease_s=60)
    engine.dispose()


def test_an_empty_folder_is_all_that_one_process_needs(tmp_path: Path) -> None:
    code, told = doctor(VIBECODER_DATA_DIR=str(tmp_path / "data"))
    assert code == 0
    assert "problem" not in told
    assert "is made at the first start" in told
    assert not any(tmp_path.iterdir()), "a doctor changes nothing"


@pytest.mark.services
def test_everything_that_is_away_is_said_with_what_to_do_and_without_secrets() -> None:
    gone = f"127.0.0.1:{free_port()}"
    code, told = doctor_process(
        VIBECODER_DATA_DIR="/proc/nothing",
        VIBECODER_DATABASE_URL=f"postgresql://somebody:hidden@{gone}/x",
        VIBECODER_REDIS_URL=f"redis://:hidden@{gone}/0",
        OPENAI_BASE_URL=f"http://{gone}/v1",
        OPENAI_API_KEY="sk-hidden",
    )
    assert code == 1
    found = {line.split()[1].rstrip(":") for line in told.splitlines() if line.startswith("prob")}
    assert found == {"data", "database", "broker", "model"}
    assert told.count(" -> ") == 4
    assert "hidden" not in told


def test_a_wrong_setting_is_said() -> None:
    code, told = doctor(VIBECODER_PORT="many")
    assert code == 1
    assert told.startswith("problem  settings: VIBECODER_PORT: input should be a valid integer")


def test_a_deployment_that_works_has_no_problem(settings: Settings) -> None:
    with_worker(settings)
    assert problems(settings) == {}
    lines = [str(finding) for finding in examine(settings)]
    assert any(f"here pid 7, version {VERSION}, 0 of 100 slots in use" in line for line in lines)


def test_no_worker_and_a_worker_of_another_version_are_problems(settings: Settings) -> None:
    assert "nothing is answered" in problems(settings)["workers"].detail
    with_worker(settings, version="0.0.9")
    assert "finish the upgrade" in problems(settings)["worker"].advice


def test_an_empty_database_wants_its_schema(
    settings: Settings, postgres_server: PostgresServer
) -> None:
    empty = settings.model_copy(update={"database_url": postgres_server.create_database()})
    assert "alembic upgrade head" in problems(empty)["schema"].advice


def test_a_broker_that_evicts_is_a_problem(settings: Settings, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        found = problems(settings.model_copy(update={"redis_url": server.url}))
    assert found["broker"].advice == "set maxmemory-policy noeviction"


def test_limits_and_clocks_are_compared(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(diagnosis, "now", lambda _: 0.0)
    narrow = settings.model_copy(update={"database_pool": 200})
    assert {"open files", "clock", "connections"} <= problems(narrow).keys()
