"""Leases: a worker that only seems dead keeps nothing, and one that stops gives all back."""

import signal
import time

import pytest

from tests.faults.cluster import QUICK, Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import wait_until


def test_a_worker_that_stood_still_past_its_lease_commits_nothing_when_it_goes_on(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    session = client.session()
    text = prompt(add_agent("helper"), "delay 1")
    frozen = cluster.worker()
    asked = client.asking(session, text)
    cluster.model_called(text)
    frozen.send_signal(signal.SIGSTOP)
    cluster.worker()
    answer = asked.result(60)
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: "attempt dropped" in frozen.output(), "the late attempt to be dropped")
    assert cluster.outcomes(answer.message_id) == ["lost", "completed"]
    assert answer.body["revision"] == 2
    cluster.check(client)
    # it is a worker like any other again
    cluster.workers[-1].kill()
    assert client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    cluster.check(client)


def test_a_worker_that_stands_still_just_for_a_while_keeps_its_message(cluster: Cluster) -> None:
    client = cluster.client()
    text = prompt("delay 3")
    worker = cluster.worker()
    asked = client.asking(client.session(), text)
    cluster.model_called(text)
    worker.send_signal(signal.SIGSTOP)
    time.sleep(float(QUICK["VIBECODER_LEASE_S"]) / 3)
    worker.send_signal(signal.SIGCONT)
    assert cluster.outcomes(asked.result(60).message_id) == ["completed"]
    cluster.check(client)


@pytest.mark.short
def test_a_worker_that_is_told_to_stop_finishes_what_ends_in_time_and_releases_the_rest(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    short, long = prompt("delay 1"), prompt("hang times 1")
    stopping = cluster.worker(VIBECODER_DRAIN_S="3")
    asked = [client.asking(client.session(), text) for text in (short, long)]
    for text in (short, long):
        cluster.model_called(text)
    began = time.monotonic()
    stopping.send_signal(signal.SIGTERM)
    other = cluster.make_worker()
    other.launch()  # not awaited: what is measured is the end of the first
    wait_until(lambda: not stopping.running, "the worker to end", timeout=20)
    # 3 s to drain, and a margin for a busy machine; unreleased, the model's silence lasts 120 s
    assert time.monotonic() - began < 15
    assert stopping.terminate() == 0
    other.wait_ready()
    finished, released = (waiting.result(60) for waiting in asked)
    assert cluster.outcomes(finished.message_id) == ["completed"]
    assert cluster.outcomes(released.message_id) == ["released", "completed"]
    assert cluster.row(released.message_id).lost_count == 0
    assert other.running
    cluster.check(client)


def test_without_any_worker_messages_wait_and_are_answered_in_order_when_one_comes(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    session = client.session()
    waiting = [client.send(session, prompt(), wait=0) for _ in range(5)]
    assert [sent.answers[0].body["position"] for sent in waiting] == [0, 1, 2, 3, 4]
    time.sleep(2)
    cluster.worker()
    answers = [client.insist(sent) for sent in waiting]
    assert [answer.body["reply"][:8].rstrip(": p") for answer in answers] == [
        f"echo {count}" for count in (1, 3, 5, 7, 9)
    ]
    cluster.check(client)
