"""What a model's server is sent of the conversation: what the Agents SDK would send."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.calls import new_session, send
from tests.eager import eager_service
from tests.stub_process import StubOpenAI
from worker.memory import history as remembered
from worker.memory.history import goes_as_stored

CALL = {"type": "function_call", "call_id": "1", "name": "outline", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "1", "output": "nothing yet"}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
ASKED = {"role": "user", "content": "hello"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
REFUSED = "[[status 400]]"


@pytest.fixture(scope="module")
def stub() -> Iterator[StubOpenAI]:
    with StubOpenAI() as stub:
        yield stub


@pytest.fixture(params=["responses", "chat_completions"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, stub: StubOpenAI
) -> Iterator[TestClient]:
    """Give a client of a service with a model's server, by each API."""
    with eager_service(
        tmp_path / "data", openai_base_url=stub.base_url, model_api=request.param
    ) as client:
        yield client


def sent(stub: StubOpenAI) -> list[Any]:
    """Give the conversation in the newest request."""
    body = stub.requests()[-1]["body"]
    conversation: list[Any] = body["input"] if "input" in body else body["messages"]
    return conversation


def test_the_server_gets_what_the_sdk_would_send_it(
    client: TestClient, stub: StubOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = new_session(client)
    for prompt in ("one", "[[tool outline {}]] [[say two]]", "three"):
        assert send(client, session_id, prompt).status_code == 200
    # what fails is not remembered: the same is sent again, by the SDK
    assert send(client, session_id, REFUSED).status_code == 422
    as_stored = sent(stub)
    monkeypatch.setattr(remembered, "goes_as_stored", lambda _: False)
    assert send(client, session_id, REFUSED).status_code == 422
    assert as_stored == sent(stub)
    assert len(as_stored) >= 9


def test_what_the_offline_model_said_is_made_fit_for_a_server(
    client: TestClient, stub: StubOpenAI
) -> None:
    session_id = new_session(client)
    said = send(client, session_id, "Create a triage agent", model="offline").json()["reply"]
    assert send(client, session_id, "and now?").status_code == 200
    assert said in str(sent(stub))
    assert "__fake_id__" not in str(sent(stub))


def test_half_a_character_that_is_remembered_does_not_end_the_conversation(
    client: TestClient, stub: StubOpenAI
) -> None:
    session_id = new_session(client)
    assert send(client, session_id, r"[[say half \ud83d]]").status_code == 200
    assert send(client, session_id, "and now?").status_code == 200
    assert "half \ufffd" in str(sent(stub))


@pytest.mark.parametrize(
    "items", [[], [ASKED, SAID], [ASKED, THOUGHT, CALL, OUTPUT, SAID], [SAID, SAID]]
)
def test_what_runs_have_stored_goes_as_it_is(items: list[Any]) -> None:
    assert goes_as_stored(items)


@pytest.mark.parametrize(
    "items",
    [
        [CALL],
        [OUTPUT],
        [CALL, OUTPUT, CALL, OUTPUT],
        [THOUGHT, THOUGHT],
        [SAID | {"id": "__fake_id__"}],
        [SAID | {"provider_data": {"model": "other"}}],
        [SAID | {"created_by": "somebody"}],
        [{"type": "computer_call", "call_id": "1"}],
    ],
)
def test_what_the_sdk_would_change_goes_through_it(items: list[Any]) -> None:
    assert not goes_as_stored(items)
