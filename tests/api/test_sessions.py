"""Sessions: found, begun, named, isolated; and what they remember."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.calls import (
    ASYNC,
    assert_problem,
    at_once,
    new_project,
    new_session,
    request_json,
    send,
)
from tests.eager import idle_service


def test_a_place_has_one_session_that_is_found_again(client: TestClient) -> None:
    path = f"/projects/{(project_id := new_project(client))}/sessions"
    begun, found = client.post(path), client.post(path, json={})
    assert (begun.status_code, found.status_code) == (201, 200)
    session = begun.json()
    assert found.json() | {"trace_id": session["trace_id"]} == session
    assert begun.headers["Location"] == f"/sessions/{session['session_id']}"
    assert "Location" not in found.headers
    assert (session["type"], session["node_id"]) == ("global", None)
    assert session["openai_session_key"] == f"project_{project_id}"


def test_a_node_has_a_session_of_its_own(client: TestClient) -> None:
    path = f"/projects/{(project_id := new_project(client))}/sessions"
    whole = client.post(path).json()
    begun, found = (client.post(path, json={"node_id": "agent1"}) for _ in range(2))
    assert (begun.status_code, found.status_code) == (201, 200)
    node = begun.json()
    assert node["session_id"] == found.json()["session_id"] != whole["session_id"]
    assert (node["type"], node["node_id"]) == ("node", "agent1")
    assert node["openai_session_key"] == f"project_{project_id}_node_agent1"


def test_further_conversations_on_a_place_are_numbered(client: TestClient) -> None:
    path = f"/projects/{(project_id := new_project(client))}/sessions"
    body = {"node_id": "a", "new": True}
    sessions = [client.post(path, json=body) for _ in range(3)]
    assert {session.status_code for session in sessions} == {201}
    base = f"project_{project_id}_node_a"
    keys = [session.json()["openai_session_key"] for session in sessions]
    assert keys == [base, f"{base}.2", f"{base}.3"]
    found = client.post(path, json={"node_id": "a"}).json()
    assert found["session_id"] == sessions[0].json()["session_id"]


def test_of_callers_that_begin_the_same_session_at_once_one_begins_it(client: TestClient) -> None:
    path = f"/projects/{new_project(client)}/sessions"
    answers = at_once([lambda: client.post(path, json={"node_id": "x"})] * 6)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["session_id"] for answer in answers}) == 1


@pytest.mark.parametrize("node_id", ["a", "_", "Agent_1", "a" * 64])
def test_a_node_id_is_a_python_name(client: TestClient, node_id: str) -> None:
    path = f"/projects/{new_project(client)}/sessions"
    assert client.post(path, json={"node_id": node_id}).json()["node_id"] == node_id


@pytest.mark.parametrize(
    "node_id", ["", "1a", "a-b", "a.2", "a b", "a\n", "é", "../x", "a" * 65, "a\x00", 5, ["a"]]
)
def test_what_is_no_python_name_is_no_node_id(client: TestClient, node_id: object) -> None:
    path = f"/projects/{new_project(client)}/sessions"
    problem = assert_problem(client.post(path, json={"node_id": node_id}), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "#/node_id"


def test_an_unknown_member_is_refused(client: TestClient) -> None:
    answer = client.post(f"/projects/{new_project(client)}/sessions", json={"node": "agent1"})
    assert assert_problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == "#/node"


def test_a_session_can_be_named_anew(client: TestClient) -> None:
    session_id = new_session(client, title="First")
    assert client.get(f"/sessions/{session_id}").json()["title"] == "First"
    for title in ("Zweite ✨", None):
        changed = client.patch(f"/sessions/{session_id}", json={"title": title})
        assert (changed.status_code, changed.json()["title"]) == (200, title)
        assert client.get(f"/sessions/{session_id}").json()["title"] == title


def test_a_session_tells_what_happened_in_it(client: TestClient) -> None:
    session_id = new_session(client)
    used = [send(client, session_id).json()["usage"] for _ in range(2)]
    session = client.get(f"/sessions/{session_id}").json()
    assert (session["messages"], session["unfinished"], session["status"]) == (2, 0, "idle")
    for name in ("input_tokens", "output_tokens"):
        assert session["usage"][name] == sum(usage[name] for usage in used) > 0


def test_a_session_that_waits_says_so(idle: TestClient) -> None:
    session_id = new_session(idle)
    send(idle, session_id, headers={"Prefer": "respond-async"})
    session = idle.get(f"/sessions/{session_id}").json()
    assert (session["messages"], session["unfinished"], session["status"]) == (1, 1, "queued")


def test_the_items_are_what_the_model_remembers(client: TestClient) -> None:
    session_id = new_session(client)
    message = send(client, session_id, "Create a triage agent").json()
    items = client.get(f"/sessions/{session_id}/items").json()
    assert [item["position"] for item in items] == list(range(len(items)))
    assert {item["message_id"] for item in items} == {message["message_id"]}
    assert items[0]["item"] == {"role": "user", "content": "Create a triage agent"}
    full = client.get(f"/messages/{message['message_id']}/full").json()
    assert full["items"] == [item["item"] for item in items]


def test_the_full_response_adds_to_the_message_and_changes_nothing(client: TestClient) -> None:
    message = send(client, new_session(client), "Create a triage agent").json()
    full = client.get(f"/messages/{message['message_id']}/full").json()
    assert {name: full[name] for name in message} == message
    assert full.keys() - message.keys() == {"tool_calls", "responses", "items", "attempts"}


@pytest.mark.parametrize("prompt", ["\x00", "a\ud800", "", 5, None])
def test_a_prompt_that_cannot_be_stored_is_refused(client: TestClient, prompt: object) -> None:
    session_id = new_session(client)
    path = f"/sessions/{session_id}/messages"
    answer = request_json(client, "POST", path, {"prompt": prompt})
    assert assert_problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == "#/prompt"


@pytest.mark.parametrize("prompt", [" ", "\x01\x7f\u2028", "😀\u202e", "<b>&\"'", "x" * 200_000])
def test_a_prompt_comes_back_as_it_was_sent(client: TestClient, prompt: str) -> None:
    session_id = new_session(client)
    assert send(client, session_id, prompt).json()["content"] == prompt
    assert client.get(f"/sessions/{session_id}/messages").json()[0]["content"] == prompt


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with idle_service(tmp_path / "data", prompt_limit=10) as client:
        session_id = new_session(client)
        assert send(client, session_id, "é" * 10, ASYNC).status_code == 202
        for answer in (
            send(client, session_id, "é" * 11),
            client.patch(f"/sessions/{session_id}", json={"title": "x" * 201}),
            client.post("/projects", json={"name": "x" * 201}),
            client.post("/projects", json={"name": "x", "instructions": "x" * 20_001}),
        ):
            assert_problem(answer, 422, "invalid_request")


def test_a_model_must_be_one_of_the_services(client: TestClient) -> None:
    problem = assert_problem(
        send(client, new_session(client), model="gpt-99"), 422, "invalid_request"
    )
    assert problem["errors"][0]["pointer"] == "#/model"
    assert "offline" in problem["detail"]
