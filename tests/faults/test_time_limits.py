"""Each limit of time ends a message with a problem of its own."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.api.calls import assert_problem, new_project, new_session, send, statuses
from tests.faults.prompts import prompt
from tests.services import EmbeddedService
from tests.stub_process import StubOpenAI

_LARGE_MODULE = "from agents import Agent\n" + "\n".join(f"x{n} = {n}" for n in range(12_000))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[httpx2.Client]:
    """Give a service with short limits: 3 s a run, 2 s a model call, 10 ms a tool."""
    settings = {
        "OPENAI_BASE_URL": stub.base_url,
        "VIBECODER_MODEL_RETRIES": "0",
        "VIBECODER_SYNC_WAIT_S": "2.9",
        "VIBECODER_RUN_TIMEOUT_S": "3",
        "VIBECODER_MODEL_TIMEOUT_S": "2",
        "VIBECODER_TOOL_TIMEOUT_S": "0.01",
    }
    with (
        EmbeddedService(tmp_path_factory.mktemp("hasty"), settings) as service,
        httpx2.Client(base_url=service.url, timeout=30, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("code", "directives"),
    [
        ("run_timeout", ["delay 1.2", "tool outline {}", 'tool outline {"again": 1}'] * 2),
        ("model_timeout", ["hang"]),
        ("tool_timeout", ["tool outline {}"]),
    ],
)
def test_a_limit_of_time_ends_a_message_with_its_own_problem(
    hasty: httpx2.Client, code: str, directives: list[str]
) -> None:
    module = _LARGE_MODULE if code == "tool_timeout" else None
    session_id = new_session(hasty, new_project(hasty, code=module))
    answer = send(hasty, session_id, prompt(*directives), {"Prefer": "wait=20"})
    problem = assert_problem(answer, 504, code)
    assert problem["retryable"] is True
    assert hasty.get(f"/messages/{problem['message_id']}").json()["error"]["code"] == code
    assert (
        send(hasty, session_id, prompt(), {"Prefer": "wait=20"})
        .json()["reply"]
        .startswith("echo 1: ")
    )
    assert statuses(hasty, session_id) == ["failed", "completed"]


def test_a_retry_after_that_the_run_has_no_time_for_ends_it_in_time(hasty: httpx2.Client) -> None:
    answer = send(hasty, new_session(hasty), prompt("status 429 retry-after 30"))
    assert_problem(answer, 503, "model_overloaded")
    assert answer.headers["Retry-After"] == "30"
    assert answer.elapsed.total_seconds() < 3
