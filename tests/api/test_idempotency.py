"""The same POST sent again is the same message."""

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.calls import ASYNC, assert_problem, at_once, new_session, send, statuses

KEY = {"Idempotency-Key": "7d0e9a52-6c6e-4a8e-9d6f-3b1a9a2f4c11"}


def test_the_same_key_gives_the_same_message(client: TestClient) -> None:
    session_id = new_session(client)
    first = send(client, session_id, headers=KEY)
    again = send(client, session_id, headers=KEY)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert statuses(client, session_id) == ["completed"]


def test_a_key_of_an_unfinished_message_attaches_to_it(idle: TestClient) -> None:
    session_id = new_session(idle)
    first = send(idle, session_id, headers=KEY | ASYNC)
    again = send(idle, session_id, headers=KEY | ASYNC)
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]


def test_a_key_belongs_to_its_session(client: TestClient) -> None:
    one, other = (send(client, new_session(client), headers=KEY) for _ in range(2))
    assert one.json()["message_id"] != other.json()["message_id"]


@pytest.mark.parametrize(
    "change", [{"prompt": "other"}, {"on_busy": "reject"}, {"model": "offline"}], ids=str
)
def test_a_key_with_another_body_is_refused(client: TestClient, change: dict[str, str]) -> None:
    session_id = new_session(client)
    first = send(client, session_id, headers=KEY).json()
    problem = assert_problem(
        send(client, session_id, headers=KEY, **change), 422, "idempotency_key_reused"
    )
    assert problem["message_id"] == first["message_id"]
    assert statuses(client, session_id) == ["completed"]


@pytest.mark.parametrize("key", ["", "with space", "x" * 256])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    session_id = new_session(client)
    answer = send(client, session_id, headers={"Idempotency-Key": key})
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["parameter"] == "Idempotency-Key"
    assert statuses(client, session_id) == []


def test_duplicates_at_the_same_time_make_one_message(live: httpx2.Client) -> None:
    session_id = new_session(live)
    answers = at_once([lambda: send(live, session_id, "[[delay 0.2]]", headers=KEY)] * 8)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["message_id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert statuses(live, session_id) == ["completed"]


def test_a_key_outlives_the_clearing_of_its_session(client: TestClient) -> None:
    session_id = new_session(client)
    first = send(client, session_id, headers=KEY)
    assert client.delete(f"/sessions/{session_id}").status_code == 200
    again = send(client, session_id, headers=KEY)
    assert again.json() == first.json()
    assert statuses(client, session_id) == [], "it was not run again"


def test_a_failure_is_replayed_and_not_tried_again(live: httpx2.Client) -> None:
    session_id = new_session(live)
    prompt = "[[status 500 times 1]] at first"
    first = send(live, session_id, prompt, headers=KEY)
    again = send(live, session_id, prompt, headers=KEY)
    problem = assert_problem(first, 502, "model_error")
    assert assert_problem(again, 502, "model_error") == problem
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert send(live, session_id, prompt).status_code == 200
    assert statuses(live, session_id) == ["failed", "completed"]
