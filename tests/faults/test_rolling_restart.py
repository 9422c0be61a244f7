"""Everything is replaced under load, one process after the other; keys at several processes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.faults.client import Answer, Client, in_background
from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import RedisServer

Maker = Callable[[str, str], Cluster]
_CLIENTS = 12


@pytest.fixture
def own_cluster(postgres_database: str, redis_server: RedisServer, make_cluster: Maker) -> Cluster:
    """Give two API processes and two workers."""
    cluster = make_cluster(postgres_database, redis_server.url)
    services = [*(cluster.make_api() for _ in "12"), *(cluster.make_worker() for _ in "12")]
    for service in services:
        service.launch()
    for service in services:
        service.wait_ready()
    return cluster


class Load:
    """Clients that send a prompt, once more with its key if that failed, and the next one."""

    def __init__(self, cluster: Cluster) -> None:
        self.client = cluster.client()
        self.over = threading.Event()
        sessions = [self.client.session() for _ in range(_CLIENTS)]
        self.clients = [self._go_on(session) for session in sessions]
        self.retried = 0

    def _go_on(self, session: str) -> "Future[Answer]":
        def go_on() -> Answer:
            answer = None
            while not self.over.is_set():
                answer = self._once_or_twice(session)
            assert answer is not None
            return answer

        return in_background(go_on)

    def _once_or_twice(self, session: str) -> Answer:
        one, other = self.client.urls
        sent = self.client._note(session, prompt("delay 0.2"))
        answer = self.client.post(sent, one)
        if answer is None or answer.status != 200:
            self.retried += 1
            answer = self.client.post(sent, other)
        assert answer is not None, f"two connections were cut: {sent}"
        assert answer.status == 200, answer
        return answer


def test_a_rolling_restart_loses_nothing_that_is_sent_a_second_time(
    own_cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    load = Load(own_cluster)
    time.sleep(1)
    for old in own_cluster.workers[:2]:
        own_cluster.worker()
        assert old.terminate() == 0
    for number, old_api in enumerate(own_cluster.apis[:2]):
        new = own_cluster.api()
        # as a load balancer: the new process takes what the old one is not sent any more
        load.client.urls[0], load.client.urls[1] = new.url, own_cluster.apis[1 - number].url
        if number:
            load.client.urls[1] = own_cluster.apis[2].url
        old_api.terminate()
    time.sleep(1)
    load.over.set()
    for client in load.clients:
        client.result(60)
    figures = {"sent": len(load.client.sent), "retried": load.retried}
    record_property("rolling_restart", figures)
    print("rolling restart:", figures)
    assert len(load.client.sent) > 2 * _CLIENTS
    own_cluster.check(load.client)


def test_the_same_key_at_several_api_processes_at_once_is_one_message(own_cluster: Cluster) -> None:
    client = Client([api.url for api in own_cluster.apis])
    session = client.session()
    for _ in range(5):
        sent = client._note(session, prompt(add_agent("helper"), "delay 0.1"))
        asked = [client.posting(sent, client.urls[n % 2]) for n in range(10)]
        answers = [one.result(60) for one in asked]
        assert {answer.status for answer in answers} == {200}
        assert len(sent.message_ids) == 1
        replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
        assert sorted(map(str, replayed)) == ["None"] + ["true"] * 9
    own_cluster.check(client)
