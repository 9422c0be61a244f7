"""A message's trace over HTTP: what its run did, as data and as a picture."""

import xml.etree.ElementTree as ET
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.calls import ASYNC, assert_problem, new_session, send
from tests.stub_process import StubOpenAI

SVG = "{http://www.w3.org/2000/svg}"


def parent_of(trace: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}


def read_trace(client: httpx2.Client, trace_id: str) -> Any:
    found = client.get(f"/traces/{trace_id}")
    assert found.status_code == 200, found.text
    assert found.headers["X-Trace-Id"] == found.json()["trace_id"] == trace_id
    return found.json()["messages"]


def picture(client: httpx2.Client, message_id: str) -> ET.Element:
    found = client.get(f"/messages/{message_id}/trace.svg")
    assert found.status_code == 200, found.text
    assert found.headers["Content-Type"] == "image/svg+xml"
    return ET.fromstring(found.text)


def words(svg: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]


def test_a_trace_has_the_message_its_attempt_and_the_spans_of_its_run(client: TestClient) -> None:
    sent = send(client, new_session(client), "Create a triage agent").json()
    [message] = read_trace(client, sent["trace_id"])
    assert message["message_id"] == sent["message_id"]
    assert message["status"] == "completed"
    [attempt] = message["attempts"]
    assert (attempt["number"], attempt["outcome"]) == (1, "completed")
    spans = {span["span_id"]: span for span in attempt["spans"]}
    [tool] = [span for span in spans.values() if span["kind"] == "function"]
    assert tool["name"] == "apply_patch"
    assert spans[tool["parent_id"]]["kind"] == "turn"
    calls = [span for span in spans.values() if span["kind"] == "generation"]
    assert {span["model"] for span in calls} == {"offline"}


def test_a_trace_holds_all_messages_that_were_sent_with_its_id_in_pages(
    client: TestClient,
) -> None:
    trace = "ab" * 16
    session_id = new_session(client)
    sent = [send(client, session_id, headers=parent_of(trace)).json() for _ in range(3)]
    ids = [message["message_id"] for message in sent]
    found = read_trace(client, f"trace_{trace}")
    assert [message["message_id"] for message in found] == ids
    first = client.get(f"/traces/trace_{trace}", params={"limit": 2})
    assert [message["message_id"] for message in first.json()["messages"]] == ids[:2]
    rest = client.get(first.links["next"]["url"]).json()["messages"]
    assert [message["message_id"] for message in rest] == ids[2:]


def test_an_unknown_trace_is_a_problem(client: TestClient) -> None:
    assert_problem(client.get(f"/traces/trace_{'0' * 31}1"), 404, "trace_not_found")
    assert_problem(client.get("/traces/nonsense"), 422, "invalid_request")


def test_the_trace_of_a_deleted_project_is_gone(client: TestClient) -> None:
    sent = send(client, new_session(client)).json()
    client.delete(f"/projects/{sent['project_id']}")
    assert_problem(client.get(f"/traces/{sent['trace_id']}"), 404, "trace_not_found")
    gone = client.get(f"/messages/{sent['message_id']}/trace.svg")
    assert_problem(gone, 404, "message_not_found")


def test_the_picture_names_each_step(client: TestClient) -> None:
    sent = send(client, new_session(client), "Create a triage agent").json()
    found = words(picture(client, sent["message_id"]))
    assert found[0].startswith("Completed after ")
    assert found[1].startswith(f"{sent['trace_id']} · 1 attempt · 2 model calls · 1 tool call")
    steps = ["queued", "attempt 1", "agent VibeCoder", "model offline", "tool apply_patch"]
    assert [step for step in steps if step not in found] == []


def test_a_queued_message_has_a_picture_too(idle: TestClient) -> None:
    sent = send(idle, new_session(idle), headers=ASYNC).json()
    assert words(picture(idle, sent["message_id"]))[0].startswith("Queued for ")
    assert read_trace(idle, sent["trace_id"])[0]["attempts"] == []


@pytest.mark.parametrize("watched", [False, True])
def test_the_callers_trace_goes_on_to_the_models_server(
    live: httpx2.Client, stub: StubOpenAI, watched: bool
) -> None:
    trace = ("cd" if watched else "ef") * 16
    prompt = f"Answer within the trace {trace}"
    accept = {"Accept": "text/event-stream"} if watched else {}
    send(live, new_session(live), prompt, headers=parent_of(trace) | accept)
    [call] = stub.requests(prompt)
    [message] = read_trace(live, f"trace_{trace}")
    [span] = [s for s in message["attempts"][0]["spans"] if s["kind"] == "generation"]
    span_id = span["span_id"].removeprefix("span_")[:16]
    assert call["headers"]["traceparent"] == f"00-{trace}-{span_id}-01"
    assert span["usage"]["input_tokens"] > 0


def test_a_failed_call_of_the_model_is_red_and_named(live: httpx2.Client) -> None:
    problem = send(live, new_session(live), "[[status 500]]").json()
    svg = picture(live, problem["message_id"])
    failed = [group for group in svg.iter(f"{SVG}g") if "failed" in group.get("class", "")]
    notes = ["".join(text.itertext()) for group in failed for text in group.iter(f"{SVG}text")]
    assert any("model_error" in note for note in notes)
    assert any("500 InternalServerError" in note for note in notes)
