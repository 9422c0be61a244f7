"""SIGKILL of a worker at each point of a message's way: it is answered once, by another worker."""

from concurrent.futures import Future

import pytest

from tests.faults.client import Answer
from tests.faults.cluster import Cluster, died
from tests.faults.prompts import add_agent, prompt


@pytest.mark.parametrize(
    ("moment", "lost"),
    [
        pytest.param("before_claim", 0, id="before the claim"),
        pytest.param("in_tool", 1, id="inside a tool"),
        pytest.param("before_commit", 1, id="just before commit 3", marks=pytest.mark.short),
        pytest.param("after_commit", 0, id="between commit 3 and publishing"),
        pytest.param("after_publish", 0, id="between publishing and the file's sync"),
        pytest.param("in_sync", 0, id="in the middle of the sync"),
    ],
)
def test_a_worker_that_dies_at_a_moment_costs_no_message_and_doubles_none(
    cluster: Cluster, moment: str, lost: int
) -> None:
    client = cluster.client()
    session = client.session()
    doomed = cluster.doomed_worker(moment)
    first = client.asking(session, prompt(add_agent("helper")))
    died(doomed)
    cluster.worker()
    answer = first.result(60)
    assert (answer.status, answer.body["revision"]) == (200, 2)
    assert cluster.outcomes(answer.message_id) == ["lost"] * lost + ["completed"]
    assert client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    cluster.check(client)


@pytest.mark.parametrize(
    ("directives", "calls"),
    [
        pytest.param(["hang times 1"], 1, id="during the model call"),
        pytest.param([add_agent("helper"), "delay 1"], 2, id="between two turns"),
    ],
)
def test_a_worker_that_is_killed_while_the_model_talks_is_replaced(
    cluster: Cluster, directives: list[str], calls: int
) -> None:
    client = cluster.client()
    session = client.session()
    text = prompt(*directives)
    killed = cluster.worker()
    asked: Future[Answer] = client.asking(session, text)
    cluster.model_called(text, calls)
    killed.kill()
    cluster.worker()
    answer = asked.result(60)
    assert answer.status == 200
    assert cluster.outcomes(answer.message_id) == ["lost", "completed"]
    cluster.check(client)


def test_a_worker_that_dies_in_the_middle_of_the_sync_at_the_opening_is_replaced(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    session = client.session()
    first = cluster.worker()
    assert client.ask(session, prompt(add_agent("helper"))).status == 200
    first.kill()
    doomed = cluster.doomed_worker("in_sync")  # on a disk that does not have the file yet
    text = prompt()
    asked = client.asking(session, text)
    died(doomed)
    assert cluster.stub.requests(text) == []
    cluster.worker()
    answer = asked.result(60)
    assert answer.body["reply"].startswith("echo 5: ")
    assert cluster.outcomes(answer.message_id) == ["lost", "completed"]
    cluster.check(client)


def test_a_message_whose_workers_die_too_often_fails_and_the_next_one_is_answered(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    session = client.session()
    fatal = client.asking(session, prompt(add_agent("helper")))
    for _ in range(3):
        died(cluster.doomed_worker("in_tool"))
    after = client.asking(session, prompt())
    cluster.worker()
    answer = fatal.result(60)
    assert (answer.status, answer.body["code"]) == (503, "worker_lost")
    assert cluster.outcomes(answer.message_id) == ["lost"] * 3
    assert after.result(60).body["reply"].startswith("echo 1: ")
    cluster.check(client)
