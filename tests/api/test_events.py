"""A message's events over HTTP: the whole story, from anywhere in it, to its one end."""

import subprocess
import threading
import time
from collections.abc import Iterable, Iterator

import httpx
import httpx2
import httpx_sse
import pytest
from starlette.testclient import TestClient

from shared.tables import EventKind
from tests.api.calls import ASYNC, assert_problem, new_session, send, wait_for_status
from tests.api.document import document, errors_of
from tests.scrape import scrape
from tests.streams import STREAM, Event, parse, posting, text_of, watch, watching, whole

LONG = " ".join(map(str, range(12)))
"""Written at 10 words a second it is several pieces of text, on a slow machine too."""


@pytest.fixture(scope="module")
def streaming(live: httpx2.Client) -> Iterator[httpx2.Client]:
    """Give a client that reads as it comes: the one that checks answers reads them whole."""
    with httpx2.Client(base_url=live.base_url, timeout=30, trust_env=False) as client:
        yield client


def ids_and_kinds(events: Iterable[Event]) -> list[tuple[int, str]]:
    return [(event.id, event.kind) for event in events]


def test_a_late_watcher_gets_the_whole(client: TestClient) -> None:
    message = send(client, new_session(client), "Create a triage agent", ASYNC).json()
    wait_for_status(client, message["message_id"], "completed")
    events = watch(client, message["message_id"])
    whole(events)
    assert [event.kind for event in events] == [
        "queued",
        "claimed",
        "tool_called",
        "tool_answered",
        "code_changed",
        "text",
        "completed",
    ]
    shown = client.get(f"/messages/{message['message_id']}").json()
    assert events[-1].data["message"] == shown
    assert events[4].data["diff"] == shown["diff"]
    assert text_of(events) == shown["reply"]
    assert events[0].data["trace_id"] == shown["trace_id"]


def test_of_a_message_that_nobody_watched_the_end_is_told(client: TestClient) -> None:
    message = send(client, new_session(client)).json()
    events = watch(client, message["message_id"])
    assert [event.kind for event in events] == ["queued", "claimed", "completed"]
    assert events[-1].data["message"]["reply"] == message["reply"]


def test_a_stream_goes_on_after_any_event(client: TestClient) -> None:
    message = send(client, new_session(client), "Create a triage agent", ASYNC).json()
    message_id = message["message_id"]
    wait_for_status(client, message_id, "completed")
    events = watch(client, message_id)
    path = f"/messages/{message_id}/events"
    for after in range(len(events)):
        assert watch(client, message_id, after=after) == events[after:]
        by_query = client.get(f"{path}?after={after}")
        assert list(parse(by_query.text.splitlines())) == events[after:]
        both = client.get(f"{path}?after=0", headers={"Last-Event-ID": str(after)})
        assert list(parse(both.text.splitlines())) == events[after:]
    # an EventSource would come back for ever
    gone = client.get(f"{path}?after={len(events)}")
    assert (gone.status_code, gone.content) == (204, b"")


def test_a_post_may_ask_for_events_and_is_the_same_message_with_its_key(
    client: TestClient,
) -> None:
    session_id, key = new_session(client), {"Idempotency-Key": "k"}
    with posting(client, session_id, "Create a triage agent", key) as stream:
        events = list(stream)
    whole(events)
    with posting(client, session_id, "Create a triage agent", key) as stream:
        assert ids_and_kinds(stream) == ids_and_kinds(events)
    with posting(
        client, session_id, "Create a triage agent", key | {"Last-Event-ID": "3"}
    ) as stream:
        assert list(stream) == events[3:]
    [message] = client.get(f"/sessions/{session_id}/messages").json()
    assert message["message_id"] == events[0].data["message_id"]


def test_what_is_wrong_before_the_stream_is_a_problem_as_everywhere(client: TestClient) -> None:
    nowhere = "5b1c3c0a-6a57-4c43-93c2-1f0b7e7d1c64"
    gone = client.get(f"/messages/{nowhere}/events", headers=STREAM)
    assert_problem(gone, 404, "message_not_found")
    wrong = client.get(f"/messages/{nowhere}/events", headers=STREAM | {"Last-Event-ID": "x"})
    assert_problem(wrong, 422, "invalid_request")
    empty = client.post(
        f"/sessions/{new_session(client)}/messages", json={"prompt": ""}, headers=STREAM
    )
    assert_problem(empty, 422, "invalid_request")


def test_each_event_says_what_the_document_describes(
    client: TestClient, streaming: httpx2.Client
) -> None:
    message = send(client, new_session(client), "Create a triage agent", ASYNC).json()
    wait_for_status(client, message["message_id"], "completed")
    events = watch(client, message["message_id"])
    with posting(streaming, new_session(streaming), "[[status 400]] no") as stream:
        events += stream
    assert {event.kind for event in events} == set(EventKind) - {"cancelled"}
    described = document()["components"]["schemas"]["EventData"]
    for event in events:
        assert event.data.keys() <= described["properties"].keys()
        assert errors_of(event.data, described) == []


def test_a_client_that_takes_anything_gets_json(client: TestClient) -> None:
    answer = send(client, new_session(client), headers={"Accept": "*/*"})
    assert answer.headers["Content-Type"] == "application/json"


def test_an_accepted_message_that_fails_ends_its_stream_with_the_problem(
    live: httpx2.Client,
) -> None:
    session_id, key = new_session(live), {"Idempotency-Key": "fails"}
    prompt = "[[status 400]] no"
    with posting(live, session_id, prompt, key) as stream:
        events = list(stream)
    whole(events)
    assert events[-1].kind == "failed"
    waited = assert_problem(send(live, session_id, prompt, key), 422, "model_rejected")
    told = events[-1].data["problem"]
    assert {name: told[name] for name in waited if name != "instance"} == {
        name: waited[name] for name in waited if name != "instance"
    }
    assert events[-1].data["message"]["status"] == "failed"


def test_text_comes_while_it_is_written(streaming: httpx2.Client) -> None:
    prompt = f"[[pace 0.1]] [[say {LONG}]]"
    began = time.monotonic()
    with posting(streaming, new_session(streaming), prompt) as stream:
        events = []
        first_text = 0.0
        for event in stream:
            events.append(event)
            if event.kind == "text" and not first_text:
                first_text = time.monotonic() - began
                assert scrape(streaming).get("vibecoder_watchers") >= 1
    took = time.monotonic() - began
    whole(events)
    assert text_of(events) == LONG
    assert sum(event.kind == "text" for event in events) >= 2
    assert first_text < took - 0.3


def test_who_comes_in_the_middle_makes_the_next_call_tell_its_text(
    streaming: httpx2.Client,
) -> None:
    tool = f"[[tool outline {{}}]] [[delay 2 times 1]] [[pace 0.1]] [[say {LONG}]]"
    session_id = new_session(streaming)
    answered: list[httpx2.Response] = []
    sender = threading.Thread(target=lambda: answered.append(send(streaming, session_id, tool)))
    sender.start()
    while not (found := streaming.get(f"/sessions/{session_id}/messages").json()):
        time.sleep(0.02)
    wait_for_status(streaming, found[0]["message_id"], "in_progress")
    events = watch(streaming, found[0]["message_id"])
    sender.join()
    whole(events)
    kinds = [event.kind for event in events]
    assert kinds[2:4] == ["tool_called", "tool_answered"]
    assert kinds.count("text") >= 2, "the second call was asked for as a stream"
    assert answered[0].json() == events[-1].data["message"]


def test_cancel_ends_the_stream_and_the_models_connection(streaming: httpx2.Client) -> None:
    session_id = new_session(streaming)
    with posting(streaming, session_id, "[[hang]] for ever") as stream:
        first = next(stream)
        message_id = first.data["message_id"]
        assert next(stream).kind == "claimed"
        streaming.post(f"/messages/{message_id}/cancel")
        *_, last = stream
    assert last.kind == "cancelled"
    assert last.data["problem"]["code"] == "cancelled"
    assert send(streaming, session_id, "and on").json()["reply"].startswith("echo 1:")


def test_curl_sees_events_as_they_come(live: httpx2.Client) -> None:
    message = send(live, new_session(live), "[[pace 0.05]] [[say hello there]]", ASYNC).json()
    url = f"{live.base_url}/messages/{message['message_id']}/events"
    done = subprocess.run(
        ["curl", "-sN", "--noproxy", "*", str(url)],
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    events = list(parse(done.stdout.splitlines()))
    whole(events)
    assert done.stdout.startswith("retry: 1000\nid: 1\n")
    assert text_of(events) == "hello there"


def test_httpx_sse_sees_the_events_and_nothing_else(live: httpx2.Client) -> None:
    path = f"/sessions/{new_session(live)}/messages"
    prompt = {"prompt": "[[pace 0.05]] [[say hello there]]"}
    with (
        httpx.Client(base_url=str(live.base_url), timeout=20, trust_env=False) as client,
        httpx_sse.connect_sse(client, "POST", path, json=prompt, headers=STREAM) as source,
    ):
        seen = list(source.iter_sse())
    assert [event.id for event in seen] == [str(number) for number in range(1, len(seen) + 1)]
    assert (seen[0].event, seen[0].retry, seen[-1].event) == ("queued", 1000, "completed")


def test_who_leaves_a_stream_disturbs_nobody(streaming: httpx2.Client) -> None:
    session_id = new_session(streaming)
    message = send(streaming, session_id, "[[pace 0.1]] [[say a b c d e f g h]]", ASYNC).json()
    for _ in range(5):
        with watching(streaming, message["message_id"]) as stream:
            next(stream)
    whole(watch(streaming, message["message_id"]))


def test_a_queued_message_is_changed_and_its_key_with_it(idle: TestClient) -> None:
    session_id, key = new_session(idle), {"Idempotency-Key": "k"}
    sent = send(idle, session_id, "old", ASYNC | key).json()
    path = f"/messages/{sent['message_id']}"
    changed = idle.patch(path, json={"prompt": "new"})
    assert changed.status_code == 200
    assert changed.json() == sent | {"content": "new"}
    again = send(idle, session_id, "new", ASYNC | key)
    assert again.json()["message_id"] == sent["message_id"]
    assert_problem(send(idle, session_id, "old", ASYNC | key), 422, "idempotency_key_reused")
    other = send(idle, session_id, "new", ASYNC | key, on_busy="rollback")
    assert_problem(other, 422, "idempotency_key_reused")


def test_a_withdrawn_message_ends_as_cancelled_and_stays(idle: TestClient) -> None:
    session_id = new_session(idle)
    sent = send(idle, session_id, headers=ASYNC).json()
    path = f"/messages/{sent['message_id']}"
    withdrawn = idle.delete(path)
    assert withdrawn.status_code == 200
    assert withdrawn.json()["status"] == "cancelled"
    assert withdrawn.json()["error"]["code"] == "withdrawn"
    assert idle.get(path).json() == withdrawn.json()
    assert [event.kind for event in watch(idle, sent["message_id"])] == ["queued", "cancelled"]


def test_what_a_worker_has_or_what_has_ended_stays_as_it_is(live: httpx2.Client) -> None:
    running = send(live, new_session(live), "[[hang]] on", ASYNC).json()["message_id"]
    ended = send(live, new_session(live), "hi").json()["message_id"]
    wait_for_status(live, running, "in_progress")
    for message_id in (running, ended):
        before = live.get(f"/messages/{message_id}").json()
        refused = live.patch(f"/messages/{message_id}", json={"prompt": "new"})
        assert_problem(refused, 409, "message_not_queued")
        assert_problem(live.delete(f"/messages/{message_id}"), 409, "message_not_queued")
        assert live.get(f"/messages/{message_id}").json() == before
    live.post(f"/messages/{running}/cancel")


def test_a_prompt_that_is_too_long_is_refused_in_a_change_too(
    idle: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(idle, new_session(idle), headers=ASYNC).json()
    long = {"prompt": "x" * 1_000_001}
    problem = assert_problem(
        idle.patch(f"/messages/{sent['message_id']}", json=long), 422, "invalid_request"
    )
    assert problem["errors"][0]["pointer"] == "#/prompt"


def test_a_202_says_when_it_may_begin(live: httpx2.Client) -> None:
    session_id = new_session(live)
    send(live, session_id, "done")
    running = send(live, session_id, "[[hang]] on", ASYNC).json()
    waiting = send(live, session_id, "next", ASYNC).json()
    assert waiting["position"] == 1
    assert waiting["starts_in_s"] > 0
    assert live.get(f"/messages/{waiting['message_id']}").json()["starts_in_s"] > 0
    live.post(f"/messages/{running['message_id']}/cancel")
    wait_for_status(live, waiting["message_id"], "completed")
    assert live.get(f"/messages/{waiting['message_id']}").json()["starts_in_s"] is None
