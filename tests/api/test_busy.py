"""Messages that meet each other: on_busy, cancel, clear, delete, and the queues' limits."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.calls import (
    ASYNC,
    assert_problem,
    new_project,
    new_session,
    send,
    statuses,
    wait_for_status,
)
from tests.eager import idle_service
from tests.services import wait_until


def test_a_message_queues_behind_an_unfinished_one(idle: TestClient) -> None:
    session_id = new_session(idle)
    for on_busy in ({}, {"on_busy": "enqueue"}):
        assert send(idle, session_id, headers=ASYNC, **on_busy).json()["rolled_back"] == []
    assert statuses(idle, session_id) == ["queued", "queued"]


def test_a_message_can_refuse_to_queue(idle: TestClient) -> None:
    session_id = new_session(idle)
    assert send(idle, session_id, headers=ASYNC, on_busy="reject").status_code == 202
    refused = send(idle, session_id, headers=ASYNC, on_busy="reject")
    assert_problem(refused, 409, "session_busy")
    assert statuses(idle, session_id) == ["queued"], "a refused message cancels nothing"


def test_a_message_can_cancel_what_waits(idle: TestClient) -> None:
    session_id = new_session(idle)
    before = [send(idle, session_id, headers=ASYNC).json()["message_id"] for _ in range(2)]
    answer = send(idle, session_id, headers=ASYNC, on_busy="rollback").json()
    assert answer["rolled_back"] == before
    assert answer["position"] == 0
    assert statuses(idle, session_id) == ["cancelled", "cancelled", "queued"]


def test_a_message_can_cancel_what_runs_but_not_what_has_ended(live: httpx2.Client) -> None:
    session_id = new_session(live)
    assert send(live, session_id, "kept").status_code == 200
    running = send(live, session_id, "[[hang]] dropped", headers=ASYNC).json()["message_id"]
    wait_for_status(live, running, "in_progress")
    answer = send(live, session_id, "instead", on_busy="rollback").json()
    assert answer["status"] == "completed"
    assert answer["rolled_back"] == [running]
    assert statuses(live, session_id) == ["completed", "cancelled", "completed"]
    assert "dropped" not in str(live.get(f"/sessions/{session_id}/items").json())


def test_the_client_of_a_message_that_is_rolled_back_gets_409(idle: TestClient) -> None:
    session_id = new_session(idle)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(send, idle, session_id)
        wait_until(lambda: statuses(idle, session_id) == ["queued"], "the message to be accepted")
        send(idle, session_id, headers=ASYNC, on_busy="rollback")
        problem = assert_problem(waiting.result(5), 409, "cancelled")
    assert problem["retryable"] is False


def test_a_queued_message_can_be_cancelled(idle: TestClient) -> None:
    session_id = new_session(idle)
    message_id = send(idle, session_id, headers=ASYNC).json()["message_id"]
    cancelled = idle.post(f"/messages/{message_id}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert cancelled.json()["error"]["code"] == "cancelled"
    again = idle.post(f"/messages/{message_id}/cancel")
    assert again.json() == cancelled.json() == idle.get(f"/messages/{message_id}").json()


def test_a_running_message_can_be_cancelled(live: httpx2.Client) -> None:
    session_id = new_session(live)
    message_id = send(live, session_id, "[[delay 2.5]]", headers=ASYNC).json()["message_id"]
    wait_for_status(live, message_id, "in_progress")
    assert live.post(f"/messages/{message_id}/cancel").json()["status"] == "cancelled"
    assert send(live, session_id, "next").status_code == 200
    assert statuses(live, session_id) == ["cancelled", "completed"]
    [attempt] = live.get(f"/messages/{message_id}/full").json()["attempts"]
    assert attempt["outcome"] == "cancelled"


def test_cancelling_what_has_ended_changes_nothing(client: TestClient) -> None:
    message = send(client, new_session(client)).json()
    assert client.post(f"/messages/{message['message_id']}/cancel").json() == message


def test_clearing_a_session_forgets_the_conversation_and_cancels_what_is_unfinished(
    idle: TestClient,
) -> None:
    session_id = new_session(idle)
    message_id = send(idle, session_id, headers=ASYNC).json()["message_id"]
    cleared = idle.delete(f"/sessions/{session_id}")
    assert cleared.status_code == 200
    assert cleared.json() == {
        "trace_id": cleared.headers["X-Trace-Id"],
        "session_id": session_id,
        "status": "cleared",
    }
    assert statuses(idle, session_id) == []
    assert idle.get(f"/messages/{message_id}/full").json()["status"] == "cancelled"


def test_a_cleared_session_can_be_used_again_and_remembers_nothing(client: TestClient) -> None:
    session_id = new_session(client)
    old = send(client, session_id, "Create a triage agent").json()
    client.delete(f"/sessions/{session_id}")
    assert client.get(f"/sessions/{session_id}/items").json() == []
    assert client.get(f"/messages/{old['message_id']}/full").json()["items"] != []
    new = send(client, session_id, "What does this workflow do?")
    assert (new.status_code, statuses(client, session_id)) == (200, ["completed"])
    assert "Create a triage" not in str(client.get(f"/sessions/{session_id}/items").json())
    session = client.get(f"/sessions/{session_id}").json()
    assert (session["messages"], session["unfinished"], session["status"]) == (1, 0, "idle")


def test_deleting_a_project_answers_who_waits_and_hides_all_below(idle: TestClient) -> None:
    project_id = new_project(idle)
    session_id = new_session(idle, project_id)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(send, idle, session_id)
        wait_until(lambda: statuses(idle, session_id) == ["queued"], "the message to be accepted")
        deleted = idle.delete(f"/projects/{project_id}")
        assert (deleted.status_code, deleted.json()["status"]) == (200, "deleted")
        problem = assert_problem(waiting.result(5), 409, "cancelled")
    message = f"/messages/{problem['message_id']}"
    for path in (message, f"{message}/full", f"{message}/cancel"):
        answer = idle.post(path) if path.endswith("cancel") else idle.get(path)
        assert_problem(answer, 404, "message_not_found")
    for path in ("", "/messages", "/items"):
        assert_problem(idle.get(f"/sessions/{session_id}{path}"), 404, "session_not_found")
    assert_problem(send(idle, session_id), 404, "session_not_found")
    assert_problem(idle.delete(f"/sessions/{session_id}"), 404, "session_not_found")
    for path in ("", "/code", "/workflow", "/workflow.svg", "/revisions", "/sessions"):
        assert_problem(idle.get(f"/projects/{project_id}{path}"), 404, "project_not_found")
    assert_problem(idle.delete(f"/projects/{project_id}"), 404, "project_not_found")
    opened = idle.post(f"/projects/{project_id}/sessions")
    assert_problem(opened, 404, "project_not_found")


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        ({"session_queue_limit": 2}, 429, "session_queue_full"),
        ({"project_queue_limit": 2}, 429, "project_queue_full"),
        ({"service_queue_limit": 2}, 503, "service_queue_full"),
    ],
)
def test_a_full_queue_refuses_with_a_time_to_try_again(
    tmp_path: Path,
    limits: dict[str, int],
    status: int,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with idle_service(tmp_path / "data", **limits) as client:
        session_id = new_session(client)
        accepted = [send(client, session_id, headers=ASYNC) for _ in range(2)]
        refused = send(client, session_id, headers=ASYNC)
        assert_problem(refused, status, code)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert statuses(client, session_id) == ["queued", "queued"]
        client.post(f"/messages/{accepted[0].json()['message_id']}/cancel")
        monkeypatch.setattr("shared.store.accept._FRESH_S", 0)  # as if a second had passed
        assert send(client, session_id, headers=ASYNC).status_code == 202


def test_a_full_queue_has_room_for_a_message_that_cancels_the_others(tmp_path: Path) -> None:
    with idle_service(tmp_path / "data", session_queue_limit=1, service_queue_limit=2) as client:
        session_id, other = new_session(client), new_session(client)
        send(client, session_id, headers=ASYNC)
        assert send(client, session_id, headers=ASYNC, on_busy="rollback").status_code == 202
        send(client, other, headers=ASYNC)
        key = {"Idempotency-Key": str(uuid4())}
        refused = send(client, new_session(client), headers=ASYNC | key, on_busy="rollback")
        assert_problem(refused, 503, "service_queue_full")
        assert statuses(client, session_id) == ["cancelled", "queued"]
        assert statuses(client, other) == ["queued"], "a refused message cancels nothing"


def test_without_any_worker_a_message_still_ends(tmp_path: Path) -> None:
    with idle_service(tmp_path / "data", queue_timeout_s=0.4) as client:
        session_id = new_session(client)
        answer = send(client, session_id, headers={"Prefer": "wait=10"})
        problem = assert_problem(answer, 503, "expired")
        assert problem["retryable"] is True
        assert statuses(client, session_id) == ["failed"]
