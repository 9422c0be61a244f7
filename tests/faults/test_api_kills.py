"""An API process that dies or is told to stop while clients wait for it."""

import signal

import pytest

from tests.faults.client import Sent
from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import wait_until


@pytest.mark.short
def test_a_client_whose_api_process_is_killed_gets_the_same_message_from_another(
    cluster: Cluster,
) -> None:
    cluster.worker()
    client = cluster.client()
    session = client.session()
    doomed = cluster.api()
    client.urls.insert(0, doomed.url)
    text = prompt(add_agent("helper"), "delay 1")
    asked = client.asking(session, text)
    cluster.model_called(text)
    doomed.kill()
    answer = asked.result(60)
    assert (answer.status, client.sent[-1].cuts) == (200, 1)
    assert answer.headers["idempotency-replayed"] == "true"
    assert len(cluster.stub.requests(text)) == 2  # the turns of one run
    assert [m["content"] for m in client_view(cluster, session)] == [text]
    cluster.check(client)


def client_view(cluster: Cluster, session: str) -> list[dict[str, str]]:
    client = cluster.client()
    client.urls = client.urls[:1]
    found: list[dict[str, str]] = client.get(f"/sessions/{session}/messages")
    return found


def test_a_key_that_is_sent_to_several_api_processes_at_once_makes_one_message(
    cluster: Cluster,
) -> None:
    cluster.worker()
    client = cluster.client()
    session = client.session()
    answers = []
    first = Sent(session, prompt("delay 0.5"))
    client.sent.append(first)
    for number in range(10):
        same = Sent(session, first.prompt, key=first.key)
        client.urls.reverse()
        clone = cluster.client()
        clone.urls = client.urls[number % 2 :]
        clone.sent.append(same)
        answers.append((same, clone.insisting(same)))
    assert len({waiting.result(60).message_id for _, waiting in answers}) == 1
    assert len(client_view(cluster, session)) == 1
    assert len(cluster.stub.requests(first.prompt)) == 1
    cluster.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_api_process_that_is_told_to_stop_answers_202_and_ends(
    cluster: Cluster, number: signal.Signals
) -> None:
    cluster.worker()
    client = cluster.client()
    session = client.session()
    stopped = cluster.api()
    text = prompt("delay 3")
    sent = Sent(session, text)
    client.sent.append(sent)
    waiting = client.posting(sent, stopped.url)
    cluster.model_called(text)
    stopped.send_signal(number)
    answer = waiting.result(5)
    assert (answer.status, answer.headers["retry-after"]) == (202, "1")
    assert answer.headers["location"] == f"/messages/{answer.message_id}"
    wait_until(lambda: not stopped.running, "the API process to end", timeout=5)
    ended = client.insist(sent)
    assert (ended.status, ended.message_id) == (200, answer.message_id)
    cluster.check(client)
