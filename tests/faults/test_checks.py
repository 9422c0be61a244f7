"""Checks and repairs by workers of other processes, on PostgreSQL, with disks of their own."""

import os
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.faults.client import Client
from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.faults.test_memory_files import sees_everything
from tests.services import WorkerProcess, wait_until


def call(client: Client, method: str, path: str, **headers: str) -> httpx2.Response:
    with httpx2.Client(trust_env=False, timeout=60) as http:
        return http.request(method, client.urls[-1] + path, headers=headers)


def report(client: Client, method: str, path: str) -> Any:
    answer = call(client, method, path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def codes(found: Any, members: str = "findings") -> list[str]:
    return [finding["code"] for finding in found[members]]


def conversation(cluster: Cluster, client: Client) -> str:
    session_id = client.session()
    for text in (prompt(add_agent("helper")), prompt()):
        assert client.ask(session_id, text).status == 200
    wait_until(lambda: not cluster.stale(), "the memory file to be written")
    return session_id


def file_of(cluster: Cluster, worker: WorkerProcess, session_id: str) -> Path:
    return cluster.data(worker) / f"{session_id}.1.db"


@pytest.mark.short
def test_a_worker_finds_and_mends_what_is_broken_in_rows_and_file(cluster: Cluster) -> None:
    worker, client = cluster.worker(), cluster.client()
    session_id = conversation(cluster, client)
    place = f"/sessions/{session_id}"
    assert report(client, "GET", f"{place}/check")["memory_file"] == "current"
    with psycopg.connect(cluster.database_url) as rows:
        here = "WHERE session_id = %s AND position = %s"
        rows.execute(f"DELETE FROM items {here}".encode(), (session_id, 1))
        rows.execute("UPDATE attempts SET outcome = NULL, ended_at = NULL")
    path = file_of(cluster, worker, session_id)
    os.truncate(path, path.stat().st_size // 2)

    broken = ["items_missing", "item_count_wrong", "attempt_open", "attempt_open"]
    broken.append("memory_file_unreadable")
    assert codes(report(client, "GET", f"{place}/check")) == broken
    repaired = report(client, "POST", f"{place}/repair")
    assert codes(repaired, "mended") == broken
    after = report(client, "GET", f"{place}/check")
    assert (after["ok"], after["memory_file"], after["items"]) == (True, "current", 5)
    sees_everything(cluster, client, session_id)
    assert report(client, "GET", f"{place}/check")["ok"]


def test_each_worker_looks_at_its_own_file(cluster: Cluster) -> None:
    first, client = cluster.worker(), cluster.client()
    session_id = conversation(cluster, client)
    first.kill()
    second = cluster.worker()
    assert client.ask(session_id, prompt()).status == 200
    wait_until(lambda: not cluster.stale(), "the memory file to be written")
    file_of(cluster, second, session_id).write_bytes(b"nonsense")
    first.start()
    seen: dict[str, str] = {}

    def both() -> bool:
        found = report(client, "GET", f"/sessions/{session_id}/check")
        seen[found["worker_id"]] = found["memory_file"]
        return len(seen) == 2

    wait_until(both, "both workers to look")
    assert sorted(seen.values()) == ["behind", "wrong"]


def test_a_check_that_no_worker_takes_in_time_is_given_up_and_never_done(
    cluster: Cluster,
) -> None:
    worker, client = cluster.worker(), cluster.client()
    session_id = conversation(cluster, client)
    worker.kill()  # its lease still runs
    gone = call(client, "GET", f"/sessions/{session_id}/check", Prefer="wait=0.5")
    assert (gone.status_code, gone.json()["code"]) == (503, "no_worker")
    assert len(cluster.hints()) == 1
    with psycopg.connect(cluster.database_url) as rows:
        assert rows.execute("SELECT count(*) FROM checks").fetchone() == (0,)
    cluster.worker()
    assert report(client, "GET", f"/sessions/{session_id}/check")["ok"]
    assert not cluster.hints()
