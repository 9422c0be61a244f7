"""Redis stopped, emptied, silent or late: messages wait and nothing is lost with it."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import RedisServer, Service, wait_until

AWAY_S = 10
BACK_S = 20
"""How long after Redis is back the last message must have ended."""

Making = Callable[[str, str], Cluster]


def test_redis_may_stop_for_10_s_and_come_back_empty(
    make_cluster: Making, postgres_database: str, own_redis: RedisServer
) -> None:
    cluster = make_cluster(postgres_database, own_redis.url)
    cluster.api()
    worker = cluster.worker(VIBECODER_WORKER_CONCURRENCY="2")
    client = cluster.client()
    sessions = [client.session() for _ in range(4)]
    running = [client.asking(one, prompt("delay 4")) for one in sessions[:2]]
    for sent in list(client.sent):
        cluster.model_called(sent.prompt)
    waiting = [client.asking(one, prompt(add_agent("helper"))) for one in sessions]
    queued = [client.send(one, prompt(), wait=0) for one in sessions]
    own_redis.kill()
    away = time.monotonic()
    during = client.send(client.session(), prompt())
    assert during.answers[0].status == 202
    assert during.answers[0].seconds < 2
    ended = [asked.result(30) for asked in running]
    assert [answer.status for answer in ended] == [200, 200]
    time.sleep(max(0.0, away + AWAY_S - time.monotonic()))
    own_redis.start()
    back = time.monotonic()
    answers = [asked.result(60) for asked in waiting]
    answers += [client.insist(sent) for sent in (*queued, during)]
    assert {answer.status for answer in answers} == {200}
    print(f"all answered {time.monotonic() - back:.1f} s after Redis was back")
    assert time.monotonic() - back < BACK_S
    assert "DeprecationWarning" not in worker.output()
    cluster.check(client)


def test_a_redis_that_is_silent_keeps_no_client_waiting(
    make_cluster: Making, postgres_database: str, own_redis: RedisServer
) -> None:
    cluster = make_cluster(postgres_database, own_redis.url)
    cluster.api()
    worker = cluster.worker()
    client = cluster.client()
    session = client.session()
    text = prompt("delay 1")
    running = client.asking(session, text)
    cluster.model_called(text)
    own_redis.send_signal(signal.SIGSTOP)
    during = [client.send(client.session(), prompt()) for _ in range(6)]
    assert [one.answers[0].status for one in during] == [202] * 6
    assert max(one.answers[0].seconds for one in during) < 2
    assert running.result(20).status == 200
    own_redis.send_signal(signal.SIGCONT)
    back = time.monotonic()
    assert {client.insist(one).status for one in during} == {200}
    assert time.monotonic() - back < BACK_S
    assert worker.running
    no_trace(worker, *cluster.apis)
    cluster.check(client)


@pytest.mark.parametrize("silent", [False, True], ids=["down", "silent"])
def test_a_redis_that_is_not_there_at_start_is_waited_for_with_one_clear_line(
    make_cluster: Making, postgres_database: str, own_redis: RedisServer, *, silent: bool
) -> None:
    cluster = make_cluster(postgres_database, own_redis.url)
    if silent:
        own_redis.send_signal(signal.SIGSTOP)
    else:
        own_redis.kill()
    worker, api = cluster.make_worker(), cluster.make_api()
    worker.launch()
    api.start()
    client = cluster.client()
    sent = client.send(client.session(), prompt(add_agent("helper")))
    assert sent.answers[0].status == 202
    assert sent.answers[0].seconds < 2
    time.sleep(8)  # long enough for a line a second to show
    if silent:
        own_redis.send_signal(signal.SIGCONT)
    else:
        own_redis.start()
    back = time.monotonic()
    assert client.insist(sent).status == 200
    assert time.monotonic() - back < BACK_S
    no_trace(worker, api)
    for service in (worker, api):
        told = [line for line in service.output().splitlines() if '"level": "error"' in line]
        assert len(told) <= 1, "\n".join(told)
    cluster.check(client)


def test_hints_for_a_worker_whose_redis_was_emptied_are_sent_again(
    make_cluster: Making, postgres_database: str, own_redis: RedisServer
) -> None:
    cluster = make_cluster(postgres_database, own_redis.url)
    cluster.api()
    client = cluster.client()
    sent = [client.send(client.session(), prompt(), wait=0) for _ in range(3)]
    wait_until(lambda: len(cluster.hints()) == 3, "the hints")
    own_redis.kill()
    own_redis.start()
    assert cluster.hints() == []
    cluster.worker()
    assert {client.insist(one).status for one in sent} == {200}
    cluster.check(client)


def no_trace(*services: Service) -> None:
    for service in services:
        assert "Traceback" not in service.output(), service.output()
