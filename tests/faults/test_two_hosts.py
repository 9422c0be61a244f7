"""Two hosts that share no disk, as network namespaces: both answer, one is cut off, both go on."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest

from tests.faults.client import Client
from tests.faults.cluster import QUICK, Cluster
from tests.faults.hosts import HostWorker, api_on, hosts, worker_on
from tests.faults.prompts import add_agent, prompt
from tests.services import PostgresServer, RedisServer, migrate, wait_until
from tests.stub_process import StubOpenAI

_CUT_S = 20.0
"""Longer than the connections of a host that is cut off live."""


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[Cluster]:
    """Give an API process and a worker on each of two hosts; servers are on neither."""
    with (
        hosts(2) as (address, both),
        PostgresServer(tmp_path, address=address) as postgres,
        RedisServer(tmp_path, address=address) as redis,
        StubOpenAI(address=address) as stub,
    ):
        url = postgres.create_database()
        migrate(url)
        cluster = Cluster(tmp_path, url, redis.url, stub, "two-hosts", extra=QUICK)
        for host in both:
            cluster.apis.append(api_on(host, tmp_path, cluster.settings))
            cluster.workers.append(worker_on(host, tmp_path, cluster.settings))
        try:
            for service in (*cluster.apis, *cluster.workers):
                service.launch()
            for service in (*cluster.apis, *cluster.workers):
                service.wait_ready()
            yield cluster
        finally:
            cluster.close()


def answered_by(cluster: Cluster, session: str) -> list[int]:
    """List the pids of the workers that answered a session's messages, in their order."""
    record = cluster.record()
    pids = {worker.id: worker.pid for worker in record.workers.values()}
    own = [m for m in record.messages.values() if m.session_id == UUID(session)]
    ordered = sorted(own, key=lambda message: message.seq)
    return [pids[m.worker_id] for m in ordered if m.worker_id is not None]


def runner_of(cluster: Cluster, message_id: UUID) -> HostWorker:
    """Find the worker that runs a message."""
    record = cluster.record()
    worker_id = record.messages[message_id].worker_id
    assert worker_id is not None
    pid = record.workers[worker_id].pid
    [found] = [worker for worker in cluster.workers if worker.pid == pid]
    assert isinstance(found, HostWorker)
    return found


def both_answer(cluster: Cluster, client: Client) -> str:
    """Talk in one session until each worker has answered thrice, and they took turns."""
    session = client.session()

    def took_turns() -> bool:
        count = len(answered_by(cluster, session))
        reply = client.ask(session, prompt()).body["reply"]
        assert reply.startswith(f"echo {2 * count + 1}: "), "the model saw the whole conversation"
        answered = answered_by(cluster, session)
        turns = sum(before != after for before, after in pairwise(answered))
        return turns >= 4 and all(answered.count(w.pid) >= 3 for w in cluster.workers)

    wait_until(took_turns, "both hosts to have answered by turns", timeout=60)
    return session


def test_hosts_without_a_shared_disk_answer_one_conversation_by_turns(two_hosts: Cluster) -> None:
    client = two_hosts.client()
    session = both_answer(two_hosts, client)
    code = client.ask(session, prompt(add_agent("triage")))
    assert code.body["revision"] == 2
    assert two_hosts.data(two_hosts.workers[0]) != two_hosts.data(two_hosts.workers[1])
    assert all(any(two_hosts.data(worker).glob("*.db")) for worker in two_hosts.workers)
    two_hosts.check(client)


def test_a_host_that_is_cut_off_in_the_middle_of_a_run_loses_nothing_and_comes_back(
    two_hosts: Cluster,
) -> None:
    client = two_hosts.client()
    session = client.session()
    text = prompt(add_agent("triage"), "hang times 1")
    sent = client._note(session, text)
    assert client.post(sent, client.urls[0], wait=0) is not None
    two_hosts.model_called(text)
    [message_id] = map(UUID, sent.message_ids)
    unlucky = runner_of(two_hosts, message_id)
    [lucky] = [worker for worker in two_hosts.workers if worker is not unlucky]
    [way] = [api.url for api in two_hosts.apis if unlucky.host.address not in api.url]

    unlucky.host.cut()
    cut_at = time.monotonic()
    through = Client([way], timeout=30)
    through.sent = [sent]
    assert through.insist(sent).body["revision"] == 2
    assert two_hosts.outcomes(str(message_id)) == ["lost", "completed"]
    assert runner_of(two_hosts, message_id) is lucky
    while time.monotonic() < cut_at + _CUT_S:  # the other host serves alone meanwhile
        assert through.ask(session, prompt()).status == 200

    unlucky.host.mend()
    both_answer(two_hosts, client)
    assert unlucky.running
    assert two_hosts.outcomes(str(message_id)) == ["lost", "completed"], (
        "the late worker was fenced"
    )
    two_hosts.check(client, through)
