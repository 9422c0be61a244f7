"""Webhooks are told at least once: killed processes, several workers, a sink that is down."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from tests.api.calls import new_project, new_session, new_webhook, send
from tests.faults.client import Client
from tests.faults.cluster import Cluster, died
from tests.faults.prompts import prompt
from tests.services import EmbeddedService, free_port, wait_until
from tests.webhook_sink import Post, WebhookSink, webhook_sink

NEAR = {"VIBECODER_WEBHOOK_PRIVATE": "true"}
DYING = {**NEAR, "VIBECODER_FAULT_POINT": "after_delivery"}
# the end of a lease or of a delay, without waiting for it
DUE = "UPDATE deliveries SET next_at = 0 WHERE status = 'pending'"


def rows(cluster: Cluster, query: str, *values: object) -> list[Any]:
    with psycopg.connect(cluster.database_url) as server:
        answer = server.execute(query.encode(), values)
        return answer.fetchall() if answer.description else []


def watched(cluster: Cluster, client: Client, url: str) -> tuple[str, str]:
    """Make a session whose ends an address is told; return its id and the webhook's secret."""
    project_id = client.project()
    with httpx2.Client(base_url=client.urls[0], trust_env=False) as http:
        webhook = new_webhook(http, project_id)
    # the API of these tests refuses this machine, as it should
    rows(cluster, "UPDATE webhooks SET url = %s WHERE id = %s", url, webhook["id"])
    return client.session(project_id), webhook["secret"]


def states(cluster: Cluster, secret: str) -> list[Any]:
    query = "SELECT d.status, d.tries FROM deliveries d JOIN webhooks w ON w.id = webhook_id"
    return rows(cluster, f"{query} WHERE w.secret = %s", secret)


def twice_the_same(posts: list[Post], secret: str) -> bool:
    first, second = posts
    signed = first.is_signed_with(secret) and second.is_signed_with(secret)
    return signed and (first.id, first.body) == (second.id, second.body)


def test_a_worker_that_is_killed_before_it_records_a_delivery_is_followed_by_another(
    cluster: Cluster,
) -> None:
    with webhook_sink() as sink:
        client = cluster.client()
        session, secret = watched(cluster, client, sink.url)
        doomed = cluster.worker(**DYING)
        assert client.ask(session, prompt()).status == 200
        died(doomed)
        assert len(sink.posts) == 1
        assert states(cluster, secret) == [("pending", 1)]
        cluster.worker(**NEAR)
        rows(cluster, DUE)
        assert twice_the_same(sink.wait(2), secret)
        wait_until(lambda: states(cluster, secret) == [("delivered", 2)], "the record")
    cluster.check(client)


def test_workers_share_what_is_to_be_told_and_a_receiver_that_was_down_misses_nothing(
    cluster: Cluster,
) -> None:
    port, messages = free_port(), 12
    client = cluster.client()
    session, secret = watched(cluster, client, f"http://127.0.0.1:{port}/")
    for worker in (cluster.make_worker(**NEAR), cluster.make_worker(**NEAR)):
        worker.launch()
    for _ in range(messages):
        assert client.ask(session, prompt()).status == 200

    def all_are(status: str) -> bool:
        found = states(cluster, secret)
        return len(found) == messages and all(row[0] == status and row[1] for row in found)

    wait_until(lambda: all_are("pending"), "a try of each")
    with webhook_sink(port=port) as sink:
        wait_until(lambda: all_are("delivered"), "the next tries", timeout=40)
        told = [post.json["data"]["message_id"] for post in sink.posts]
    assert len(told) == len(set(told)) == messages, "each once, as nobody died"
    assert set(told) == {sent.answers[-1].message_id for sent in client.sent}


def test_one_process_that_is_killed_delivers_again_after_its_start(tmp_path: Path) -> None:
    with webhook_sink() as sink, EmbeddedService(tmp_path, DYING) as service:
        secret = told_once(service, sink)
        wait_until(lambda: not service.running, "the service to die")
        service.settings = {**service.settings, "VIBECODER_FAULT_POINT": ""}
        data = Path(service.settings["VIBECODER_DATA_DIR"])
        with closing(sqlite3.connect(data / "vibecoder.db")) as database, database:
            database.execute(DUE)
        service.start()
        assert twice_the_same(sink.wait(2), secret)


def told_once(service: EmbeddedService, sink: WebhookSink) -> str:
    """Have a message answered whose end the sink is told; return the webhook's secret."""
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=30) as http:
        project_id = new_project(http)
        secret = str(new_webhook(http, project_id, sink.url)["secret"])
        session_id = new_session(http, project_id)
        with suppress(httpx2.TransportError):  # it may die before it answers
            send(http, session_id)
    sink.wait(1)
    return secret
