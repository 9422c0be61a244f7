"""Forking: a session that remembers what was remembered then, and the code as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.calls import (
    ASYNC,
    NOBODYS_ID,
    assert_problem,
    new_project,
    new_session,
    send,
    wait_for_status,
)
from tests.eager import eager_service
from tests.stub_process import StubOpenAI


def answered(client: httpx2.Client, session_id: str, prompt: str) -> str:
    sent = send(client, session_id, prompt)
    assert sent.status_code == 200, sent.text
    return str(sent.json()["message_id"])


def fork(client: httpx2.Client, message_id: str, **body: Any) -> dict[str, Any]:
    made = client.post(f"/messages/{message_id}/fork", json=body)
    assert made.status_code == 201, made.text
    session: dict[str, Any] = made.json()
    assert made.headers["Location"] == f"/sessions/{session['session_id']}"
    assert client.get(made.headers["Location"]).json() | {"trace_id": ""} == session | {
        "trace_id": ""
    }
    return session


def items(client: httpx2.Client, session_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/sessions/{session_id}/items").json()
    return found


def code(client: httpx2.Client, project_id: str) -> str:
    return client.get(f"/projects/{project_id}/code").text


def test_a_fork_remembers_exactly_what_was_remembered_after_the_message(
    client: TestClient,
) -> None:
    session_id = new_session(client)
    first = answered(client, session_id, "Create a triage agent")
    then = items(client, session_id)
    answered(client, session_id, "Make it Spanish")
    after = items(client, session_id)

    forked = fork(client, first)

    assert items(client, forked["session_id"]) == then
    assert items(client, session_id) == after, "the origin stays as it was"
    assert forked["forked_from_message_id"] == first
    assert client.get(f"/sessions/{forked['session_id']}/messages").json() == []
    full = client.get(f"/messages/{first}/full").json()
    assert len(full["items"]) == len(then), "a message's items are those of its own session"


def test_the_model_sees_what_a_fork_remembers(live: httpx2.Client, stub: StubOpenAI) -> None:
    session_id = new_session(live)
    first = answered(live, session_id, "first of the forked")
    answered(live, session_id, "second of the forked")
    forked = fork(live, first)["session_id"]
    answered(live, forked, "third, in the fork")
    (call,) = stub.requests("third, in the fork")
    sent = [item["content"] for item in call["body"]["input"] if item.get("role") == "user"]
    assert sent == ["first of the forked", "third, in the fork"]


def test_forks_get_the_next_keys_of_their_place(client: TestClient) -> None:
    project_id = new_project(client)
    message_id = answered(client, new_session(client, project_id), "Create a triage agent")
    keys = [fork(client, message_id)["openai_session_key"] for _ in range(2)]
    assert keys == [f"project_{project_id}.2", f"project_{project_id}.3"]


def test_a_nodes_session_is_forked_to_one_of_the_same_node(client: TestClient) -> None:
    project_id = new_project(client)
    answered(client, new_session(client, project_id), "Create a triage agent")
    opened = new_session(client, project_id, node_id="triage", title="Ideas")
    forked = fork(client, answered(client, opened, "Make it Spanish"))
    assert (forked["type"], forked["node_id"], forked["title"]) == ("node", "triage", "Ideas")
    assert forked["openai_session_key"] == f"project_{project_id}_node_triage.2"


def test_a_fork_of_a_fork_remembers_both(client: TestClient) -> None:
    session_id = new_session(client)
    first = answered(client, session_id, "Create a triage agent")
    forked = fork(client, first)["session_id"]
    second = answered(client, forked, "Make it Spanish")
    then = items(client, forked)
    answered(client, forked, "What does this workflow do?")
    assert items(client, fork(client, second)["session_id"]) == then


def test_after_a_message_that_failed_is_what_was_before_it(live: httpx2.Client) -> None:
    session_id = new_session(live)
    answered(live, session_id, "before the failure")
    then = items(live, session_id)
    failed = send(live, session_id, "[[status 400]]")
    answered(live, session_id, "after the failure")
    assert items(live, fork(live, failed.json()["message_id"])["session_id"]) == then


def test_the_first_message_that_failed_leaves_a_fork_that_remembers_nothing(
    live: httpx2.Client,
) -> None:
    failed = send(live, new_session(live), "[[status 400]]").json()["message_id"]
    forked = fork(live, failed)["session_id"]
    assert items(live, forked) == []
    answered(live, forked, "Hello")


@pytest.mark.parametrize("prompt", ["Create a triage agent", "What does this workflow do?"])
def test_a_copy_of_the_project_has_the_code_as_it_was_after_the_message(
    client: TestClient, prompt: str
) -> None:
    project_id = new_project(client, instructions="Be kind.")
    session_id = new_session(client, project_id)
    message_id = answered(client, session_id, prompt)
    then = code(client, project_id)
    answered(client, session_id, "Create a billing agent")
    now = code(client, project_id)
    assert then != now

    forked = fork(client, message_id, copy_project=True)

    copy = client.get(f"/projects/{forked['project_id']}").json()
    assert (copy["name"], copy["instructions"]) == ("Test (fork)", "Be kind.")
    assert (copy["code"], copy["revision"]) == (then, 1)
    assert forked["openai_session_key"] == f"project_{copy['id']}"
    answered(client, forked["session_id"], "Create a refund agent")
    assert code(client, project_id) == now, "the copy is on its own"


def test_the_name_of_a_copy_is_not_longer_than_a_name_may_be(client: TestClient) -> None:
    project_id = new_project(client, name="x" * 200)
    message_id = answered(client, new_session(client, project_id), "Create a triage agent")
    copy = fork(client, message_id, copy_project=True)["project_id"]
    assert client.get(f"/projects/{copy}").json()["name"] == "x" * 193 + " (fork)"


def test_what_was_forgotten_since_can_still_be_forked(client: TestClient) -> None:
    session_id = new_session(client)
    message_id = answered(client, session_id, "Create a triage agent")
    then = items(client, session_id)
    client.delete(f"/sessions/{session_id}")
    answered(client, session_id, "Make it Spanish")
    assert items(client, fork(client, message_id)["session_id"]) == then


def test_an_unfinished_message_is_not_forked(idle: TestClient) -> None:
    sent = send(idle, new_session(idle), headers=ASYNC).json()["message_id"]
    problem = assert_problem(idle.post(f"/messages/{sent}/fork"), 409, "message_unfinished")
    assert problem["message_id"] == sent
    idle.post(f"/messages/{sent}/cancel")
    wait_for_status(idle, sent, "cancelled")
    fork(idle, sent)


def test_a_message_that_is_not_there_is_not_forked(client: TestClient) -> None:
    assert_problem(client.post(f"/messages/{NOBODYS_ID}/fork"), 404, "message_not_found")


def test_a_message_of_a_deleted_project_is_not_forked(client: TestClient) -> None:
    project_id = new_project(client)
    message_id = answered(client, new_session(client, project_id), "Create a triage agent")
    client.delete(f"/projects/{project_id}")
    assert_problem(client.post(f"/messages/{message_id}/fork"), 404, "message_not_found")


def test_a_memory_that_is_not_whole_is_not_forked(tmp_path: Path) -> None:
    with eager_service(tmp_path) as client:
        for lost in ("position = 1", "position = 3", "position >= 0"):
            session_id = new_session(client)
            message_id = answered(client, session_id, "Create a triage agent")
            assert len(items(client, session_id)) == 4
            with closing(sqlite3.connect(tmp_path / "vibecoder.db")) as file, file:
                file.execute(
                    f"DELETE FROM items WHERE {lost} AND session_id = ?", (UUID(session_id).hex,)
                )
            problem = client.post(f"/messages/{message_id}/fork")
            assert_problem(problem, 409, "memory_incomplete")
            path = f"/projects/{project_of(client, session_id)}/sessions"
            assert len(client.get(path).json()) == 1, lost


def project_of(client: TestClient, session_id: str) -> str:
    return str(client.get(f"/sessions/{session_id}").json()["project_id"])
