"""The helpers that start real services."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests.services import (
    ROOT,
    PostgresServer,
    RedisServer,
    clean_environment,
    wait_until,
)


@pytest.mark.services
def test_redis_answers_and_comes_back_empty_on_the_same_port(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.restart()
        assert client.get("key") is None
        assert client.ping()
    assert not server.running


@pytest.mark.services
def test_postgres_gives_each_test_a_database_and_keeps_it_through_kill_9(
    tmp_path: Path,
) -> None:
    with PostgresServer(tmp_path) as server:
        server.create_database("first")
        server.execute("CREATE TABLE t AS SELECT 7 AS n", database="first")
        server.execute("CHECKPOINT")
        copy = server.create_database(template="first")
        server.kill()
        server.start()
        with psycopg.connect(copy) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (7,)
        server.drop_database("first")
    assert not server.home.exists()


def test_children_get_no_settings_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-host")
    monkeypatch.setenv("VIBECODER_MODEL", "host")
    environment = clean_environment({"VIBECODER_PORT": "1"})
    names = [name for name in environment if name.startswith(("VIBECODER_", "OPENAI_"))]
    assert names == ["VIBECODER_PORT"]


@pytest.mark.usefixtures("redis_server", "postgres_server")  # which say if they are missing
@pytest.mark.skipif(sys.platform != "linux", reason="the tether is Linux's")
@pytest.mark.parametrize("server", ["RedisServer", "PostgresServer"])
def test_no_service_outlives_a_test_run_that_is_killed(server: str, tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path; from tests.services import {server}; import os, signal\n"
        f"service = {server}(Path({str(tmp_path)!r})).start()\n"
        "print(service.pid, getattr(service, 'home', ''), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    pid, home = done.stdout.strip("\n").split(" ")
    wait_until(lambda: not _lives(int(pid)), f"{server} to end")
    if home:
        shutil.rmtree(home)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
