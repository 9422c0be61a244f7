"""Hints and announcements that are lost or doubled: they only cost or save time."""

import time

import redis

from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.faults.proxy import Proxy
from tests.services import wait_until


def test_a_hint_that_is_lost_is_given_again(cluster: Cluster) -> None:
    client = cluster.client()
    sent = client.send(client.session(), prompt(), wait=0)
    wait_until(lambda: len(cluster.hints()) > 0, "the hint")
    with redis.Redis.from_url(cluster.redis_url) as broker:
        assert broker.delete(cluster.queue) == 1
    cluster.worker()
    began = time.monotonic()
    assert client.insist(sent).status == 200
    assert time.monotonic() - began < 8
    cluster.check(client)


def test_hints_that_are_delivered_three_times_have_one_effect(cluster: Cluster) -> None:
    client = cluster.client()
    sessions = [client.session() for _ in range(5)]
    texts = [prompt(add_agent("helper"), "delay 0.3") for _ in sessions]
    sent = [client.send(one, text, wait=0) for one, text in zip(sessions, texts, strict=True)]
    sent += [client.send(one, prompt(), wait=0) for one in sessions]
    wait_until(lambda: len(cluster.hints()) >= 5, "the hints")
    with redis.Redis.from_url(cluster.redis_url) as broker:
        for hint in cluster.hints() * 2:
            broker.rpush(cluster.queue, hint)
    cluster.make_worker().launch()
    cluster.worker()
    for one in sent:
        message_id = client.insist(one).message_id
        assert message_id
        cluster.hint(message_id, times=3)
    assert [len(cluster.stub.requests(text)) for text in texts] == [2] * 5
    assert all(cluster.row(one.answers[-1].message_id).attempt == 1 for one in sent)
    cluster.check(client)


def test_a_client_is_answered_soon_although_the_announcement_of_its_end_is_lost(
    cluster: Cluster,
) -> None:
    cluster.worker()
    with Proxy(cluster.redis_url) as redis_proxy:
        deaf = cluster.api(VIBECODER_REDIS_URL=redis_proxy.url(cluster.redis_url))
        client = cluster.client()
        session = client.session()
        redis_proxy.swallow(b"pmessage", b"message\r\n")
        client.urls = [deaf.url]
        answer = client.ask(session, prompt("delay 0.5"))
        assert redis_proxy.swallowed > 0
        deaf.kill()
    assert answer.status == 200
    assert answer.seconds < 0.5 + 2 + 2  # the run, the time between two questions, a margin
    cluster.check(client)


def test_a_message_that_no_worker_takes_in_time_fails_and_the_session_goes_on(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    api = cluster.api(VIBECODER_QUEUE_TIMEOUT_S="4")
    client.urls = [api.url]
    session = client.session()
    text = prompt("hang times 1")
    worker = cluster.worker()
    running = client.asking(session, text)
    cluster.model_called(text)
    worker.kill()
    queued = client.asking(session, prompt())
    lost, expired = running.result(40), queued.result(40)
    assert (lost.status, lost.body["code"]) == (503, "worker_lost")
    assert (expired.status, expired.body["code"]) == (503, "expired")
    cluster.worker()
    assert client.ask(session, prompt()).body["reply"].startswith("echo 1: ")
    api.kill()
    cluster.check(client)
