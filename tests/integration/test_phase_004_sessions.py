"""Phase 004's tests: in eager mode, against the embedded service, and against real processes.

The same three tests each time: over HTTP only, with the offline model.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from tests.distributed import DISTRIBUTED, Distributed
from tests.eager import eager_service
from tests.services import ApiProcess, EmbeddedService

EMBEDDED = pytest.param("embedded", marks=pytest.mark.services)


@pytest.fixture(scope="module", params=["eager", EMBEDDED, DISTRIBUTED])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """Give a client of the service in each of its forms."""
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        match request.param:
            case "eager":
                yield stack.enter_context(eager_service(directory))
            case "embedded":
                service = stack.enter_context(EmbeddedService(directory))
                yield stack.enter_context(_client(service))
            case "distributed":
                distributed: Distributed = request.getfixturevalue("distributed")
                yield stack.enter_context(_client(distributed.api))


def _client(service: ApiProcess) -> httpx2.Client:
    return httpx2.Client(base_url=service.url, timeout=30, trust_env=False)


@pytest.fixture
def project_id(client: httpx2.Client) -> str:
    """Give a new project."""
    created = client.post("/projects", json={"name": "Session Test"})
    assert created.status_code == 201
    return str(created.json()["id"])


def test_session_persistence(client: httpx2.Client, project_id: str) -> None:
    # Start session → get session_id
    session = client.post(f"/projects/{project_id}/sessions").json()
    session_id = session["session_id"]
    assert session["openai_session_key"] == f"project_{project_id}"

    # Send first message "Create a triage agent" → verify trace_id
    prompt = {"prompt": "Create a triage agent"}
    first = client.post(f"/sessions/{session_id}/messages", json=prompt)
    assert first.status_code == 200
    assert first.json()["trace_id"].startswith("trace_")
    assert first.json()["trace_id"] == first.headers["X-Trace-Id"]

    # Send second message "Make it Spanish"
    second = client.post(f"/sessions/{session_id}/messages", json={"prompt": "Make it Spanish"})
    assert second.status_code == 200

    # GET messages → verify count=2 and context maintained
    messages = client.get(f"/sessions/{session_id}/messages").json()
    assert len(messages) == 2
    assert [m["content"] for m in messages] == ["Create a triage agent", "Make it Spanish"]
    assert messages == [first.json(), second.json()]
    assert "triage" in messages[1]["reply"], "only the conversation says what `it` is"
    [node] = client.get(f"/projects/{project_id}").json()["nodes"]
    assert "Spanish" in node["instructions"]

    # the same session is found again, and remembers
    found = client.post(f"/projects/{project_id}/sessions")
    assert (found.status_code, found.json()["session_id"]) == (200, session_id)
    remembered = str(client.get(f"/sessions/{session_id}/items").json())
    assert remembered.index("Create a triage agent") < remembered.index("Make it Spanish")


def test_full_response_storage(client: httpx2.Client, project_id: str) -> None:
    # Send message → get message_id
    session_id = client.post(f"/projects/{project_id}/sessions").json()["session_id"]
    sent = client.post(f"/sessions/{session_id}/messages", json={"prompt": "Create a triage agent"})
    message = sent.json()

    # GET /messages/{id}/full → verify has tool_calls, usage, model
    full = client.get(f"/messages/{message['message_id']}/full").json()
    assert {"apply_patch"} <= {call["name"] for call in full["tool_calls"]}
    assert all(call["output"] for call in full["tool_calls"])
    assert full["usage"]["total_tokens"] > 0
    assert full["model"] == "offline"
    assert full["trace_id"] == message["trace_id"]
    assert full["reply"] == message["reply"]
    assert len(full["responses"]) == full["usage"]["requests"] == 2
    assert [attempt["outcome"] for attempt in full["attempts"]] == ["completed"]


def test_node_session_isolation(client: httpx2.Client, project_id: str) -> None:
    # Create global session and node session
    # Send messages to each → verify isolation
    global_session = client.post(f"/projects/{project_id}/sessions")
    global_id = global_session.json()["session_id"]

    # Node session
    node_session = client.post(f"/projects/{project_id}/sessions", json={"node_id": "agent1"})
    node_id = node_session.json()["session_id"]

    # Messages should be isolated
    client.post(f"/sessions/{global_id}/messages", json={"prompt": "global message"})
    client.post(f"/sessions/{node_id}/messages", json={"prompt": "node message"})

    global_msgs = client.get(f"/sessions/{global_id}/messages")
    assert len(global_msgs.json()) == 1
    assert "global" in global_msgs.json()[0]["content"]

    node_msgs = client.get(f"/sessions/{node_id}/messages")
    assert [message["content"] for message in node_msgs.json()] == ["node message"]
    assert global_msgs.json()[0]["status"] == node_msgs.json()[0]["status"] == "completed"
    assert "node message" not in str(client.get(f"/sessions/{global_id}/items").json())
    assert "global message" not in str(client.get(f"/sessions/{node_id}/items").json())
    assert global_session.json()["openai_session_key"] == f"project_{project_id}"
    assert node_session.json()["openai_session_key"] == f"project_{project_id}_node_agent1"
