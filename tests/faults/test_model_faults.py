"""A model that refuses, breaks, talks nonsense or keeps silent: the message ends and says why."""

import pytest

from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt


@pytest.fixture(scope="module")
def answering(shared_cluster: Cluster) -> Cluster:
    """Give the cluster with a worker whose limits are short."""
    shared_cluster.kill_workers()
    shared_cluster.worker(VIBECODER_MODEL_TIMEOUT_S="3", VIBECODER_MODEL_RETRIES="1")
    return shared_cluster


FAULTS = [
    pytest.param("status 429 retry-after 0.1", 503, "model_overloaded", 2, id="429"),
    pytest.param("status 500", 502, "model_error", 2, id="500"),
    pytest.param("broken", 502, "model_error", 2, id="a body cut off"),
    pytest.param("garbage", 502, "model_error", 1, id="half a JSON"),
    pytest.param("garbage <html>gone</html>", 502, "model_error", 1, id="HTML"),
    pytest.param("hang", 504, "model_timeout", 1, id="never"),
]


@pytest.mark.parametrize(("fault", "status", "code", "calls"), FAULTS)
def test_a_model_that_fails_fails_its_message_and_leaves_nothing_behind(
    answering: Cluster, fault: str, status: int, code: str, calls: int
) -> None:
    client = answering.client()
    session = client.session()
    assert client.ask(session, prompt(add_agent("helper"))).status == 200
    text = prompt(fault)
    answer = client.ask(session, text)
    assert (answer.status, answer.body["code"]) == (status, code)
    assert len(answering.stub.requests(text)) == calls
    assert client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    answering.check(client)


@pytest.mark.parametrize(("fault", "status", "code", "calls"), FAULTS)
def test_a_model_that_fails_after_its_tool_leaves_no_half_turn_and_no_revision(
    answering: Cluster, fault: str, status: int, code: str, calls: int
) -> None:
    client = answering.client()
    project = client.project()
    session = client.session(project)
    # the fault stands for every call but the first
    text = prompt(add_agent("helper"), f"after 1 {fault}")
    answer = client.ask(session, text)
    assert (answer.status, answer.body["code"]) == (status, code)
    assert len(answering.stub.requests(text)) == calls + 1
    assert client.get(f"/projects/{project}")["revision"] == 1
    assert client.ask(session, prompt()).body["reply"].startswith("echo 1: ")
    answering.check(client)


@pytest.mark.parametrize(
    "fault",
    ["status 429 retry-after 0.1 times 1", "status 500 times 1", "broken times 1"],
    ids=["429", "500", "a body cut off"],
)
def test_what_passes_by_itself_is_tried_again_within_the_run(
    answering: Cluster, fault: str
) -> None:
    client = answering.client()
    answer = client.ask(client.session(), prompt(fault))
    assert answer.status == 200
    assert answering.outcomes(answer.message_id) == ["completed"]
    answering.check(client)
