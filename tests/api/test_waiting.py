"""How long a POST or a GET waits, and what it answers when the message has not ended."""

import socket
import time

import httpx2
from starlette.testclient import TestClient

from shared.settings import Settings
from tests.api.calls import ASYNC, at_once, new_session, send, statuses, wait_for_status
from tests.services import wait_until

DEFAULT_WAIT_S = Settings().sync_wait_s


def test_who_does_not_want_to_wait_gets_202_at_once(idle: TestClient) -> None:
    session_id = new_session(idle)
    preferences = ("respond-async", "wait=0", "Respond-Async; x=y, foo", 'foo="1", wait="0"')
    for position, prefer in enumerate(preferences):
        begun = time.monotonic()
        answer = send(idle, session_id, headers={"Prefer": prefer})
        assert time.monotonic() - begun < DEFAULT_WAIT_S / 2, prefer
        assert answer.status_code == 202, prefer
        message = answer.json()
        assert answer.headers["Location"] == f"/messages/{message['message_id']}"
        assert int(answer.headers["Retry-After"]) >= 1
        assert (message["status"], message["reply"]) == ("queued", None)
        assert message["position"] == position
        assert idle.get(answer.headers["Location"]).json() == message


def test_202_tells_how_many_messages_come_first(idle: TestClient) -> None:
    session_id = new_session(idle)
    answers = [send(idle, session_id, headers=ASYNC).json() for _ in range(3)]
    assert [answer["position"] for answer in answers] == [0, 1, 2]
    idle.post(f"/messages/{answers[0]['message_id']}/cancel")
    assert idle.get(f"/messages/{answers[2]['message_id']}").json()["position"] == 1


def test_a_wait_ends_when_the_client_said(idle: TestClient) -> None:
    session_id = new_session(idle)
    for prefer in ("wait=0.1", "respond-async, wait=0.1", "wait=0.1, wait=50"):
        begun = time.monotonic()
        answer = send(idle, session_id, headers={"Prefer": prefer})
        assert 0.1 <= time.monotonic() - begun < DEFAULT_WAIT_S / 2, prefer
        assert answer.status_code == 202, prefer
        begun = time.monotonic()
        again = idle.get(answer.headers["Location"], headers={"Prefer": prefer})
        assert 0.1 <= time.monotonic() - begun < DEFAULT_WAIT_S / 2, prefer
        assert again.json()["status"] == "queued"


def test_a_preference_that_means_nothing_is_ignored(client: TestClient) -> None:
    session_id = new_session(client)
    for prefer in ("wait=-1", "wait=soon", "wait", "=", "return=minimal", ",;,"):
        answer = send(client, session_id, headers={"Prefer": prefer})
        assert (answer.status_code, answer.json()["status"]) == (200, "completed"), prefer


def test_a_get_that_waits_is_answered_when_the_message_ends(live: httpx2.Client) -> None:
    sent = send(live, new_session(live), "[[delay 0.5]] slowly", headers=ASYNC)
    assert sent.status_code == 202
    message = live.get(sent.headers["Location"], headers={"Prefer": "wait=30"}).json()
    assert message["status"] == "completed"
    assert message["position"] is None


def test_many_clients_can_wait_for_one_message(live: httpx2.Client) -> None:
    session_id, key = new_session(live), {"Idempotency-Key": "same"}
    sent = send(live, session_id, "[[delay 0.5]]", headers=ASYNC | key)
    waiting = {"Prefer": "wait=10"}
    answers = at_once(
        [lambda: live.get(sent.headers["Location"], headers=waiting)] * 3
        + [lambda: send(live, session_id, "[[delay 0.5]]", headers=key)] * 3
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["status"] for answer in answers} == {"completed"}


def test_a_client_that_leaves_cancels_nothing(live: httpx2.Client) -> None:
    session_id = new_session(live)
    body = b'{"prompt": "[[delay 0.5]] bye"}'
    head = (
        f"POST /sessions/{session_id}/messages HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.base_url.port or 0)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: statuses(live, session_id) != [], "the message to be accepted")
    [message] = live.get(f"/sessions/{session_id}/messages").json()
    wait_for_status(live, message["message_id"], "completed")


def test_messages_of_one_session_are_answered_in_order_and_those_of_others_meanwhile(
    live: httpx2.Client,
) -> None:
    slow, fast = new_session(live), new_session(live)
    first = send(live, slow, "[[hang]]", headers=ASYNC).json()["message_id"]
    for _ in range(2):
        send(live, slow, headers=ASYNC)
    answer = send(live, fast, "at once").json()
    assert answer["status"] == "completed"
    last = live.get(f"/sessions/{slow}/messages").json()[-1]
    assert last["status"] == "queued", "one session's queue holds up no other session"
    live.post(f"/messages/{first}/cancel")
    wait_for_status(live, last["message_id"], "completed")
    messages = live.get(f"/sessions/{slow}/messages").json()
    ends = [message["ended_at"] for message in messages]
    assert ends == sorted(ends)
    # the stub counts the conversation's items: each message saw those before it
    heads = [message["reply"].split(":")[0] for message in messages[1:]]
    assert heads == ["echo 1", "echo 3"]
