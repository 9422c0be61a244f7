"""Killed workers' calls are counted, old sessions go: with real processes and PostgreSQL."""

import psycopg

from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import wait_until


def rows(cluster: Cluster, query: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(cluster.database_url) as server:
        answer = server.execute(query.encode(), values)
        return answer.fetchall() if answer.description else []


def test_the_calls_of_a_killed_worker_are_recorded_and_counted(cluster: Cluster) -> None:
    client = cluster.client()
    project = client.project()
    session = client.session(project)
    text = prompt(add_agent("helper"), "after 1 hang times 1")
    killed = cluster.worker()
    asked = client.asking(session, text)
    cluster.model_called(text, 2)  # the second one hangs
    query = """SELECT c.attempt, c.n FROM model_calls c JOIN messages m ON m.id = c.message_id
        WHERE m.session_id = %s AND c.project_id = m.project_id ORDER BY c.attempt, c.n"""
    wait_until(lambda: rows(cluster, query, session) == [(1, 1)], "the first call to be stored")
    killed.kill()
    cluster.worker()
    answer = asked.result(60)
    assert answer.status == 200
    assert cluster.outcomes(answer.message_id) == ["lost", "completed"]
    spent = client.get(f"/projects/{project}/usage")["totals"]
    assert spent["calls"] == 3
    assert spent["input_tokens"] > answer.body["usage"]["input_tokens"] > 0
    assert client.get(f"/messages/{answer.message_id}/usage")["totals"] == spent
    cluster.check(client)


def test_a_worker_deletes_sessions_that_nobody_used_for_long_and_says_so(cluster: Cluster) -> None:
    client = cluster.client()
    project = client.project()
    old, young = client.session(project), client.session(project)
    cluster.worker()
    for session in (old, young):
        assert client.ask(session, prompt(add_agent("helper"))).status == 200
    before = client.get(f"/projects/{project}/usage")
    month = 31 * 86_400
    rows(cluster, "UPDATE sessions SET created_at = created_at - %s WHERE id = %s", month, old)
    rows(cluster, "UPDATE messages SET ended_at = ended_at - %s WHERE session_id = %s", month, old)
    cluster.worker(VIBECODER_RETENTION_DAYS="30")
    remaining = [young]
    wait_until(
        lambda: [s["session_id"] for s in client.get(f"/projects/{project}/sessions")] == remaining,
        "the old session to be deleted",
    )
    deleting = cluster.workers[-1]
    wait_until(lambda: "deleted old sessions" in deleting.output(), "the log to say so")
    (line,) = [line for line in deleting.output().splitlines() if "deleted old sessions" in line]
    for said in ('"sessions": 1', '"messages": 1', '"items": 4', '"oldest_days": 31.0'):
        assert said in line
    assert client.get(f"/projects/{project}/usage") | {"trace_id": ""} == before | {"trace_id": ""}
    first = client.get(f"/projects/{project}/revisions/2")
    assert rows(cluster, "SELECT 1 FROM messages WHERE id = %s", first["message_id"]) == []
    assert client.ask(young, prompt()).status == 200
