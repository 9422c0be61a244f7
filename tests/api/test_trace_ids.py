"""One trace id from the request's header to every answer."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.calls import TRACE_ID, new_delivery, new_project, new_session, send

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-b7ad6b7169203331-00"


@pytest.mark.parametrize("traceparent", [PARENT, PARENT.replace("00-", "cc-", 1) + "-later"])
def test_the_trace_id_is_that_of_the_callers_trace(client: TestClient, traceparent: str) -> None:
    answer = client.get("/health", headers={"traceparent": traceparent})
    assert answer.headers["X-Trace-Id"] == answer.json()["trace_id"] == f"trace_{TRACE}"


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-01-more",
        f"00-{TRACE}-b7ad6b7169203331-01x",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-b7ad6b7169203331-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(client: TestClient, traceparent: str) -> None:
    headers = {"traceparent": traceparent}
    first, second = (client.get("/health", headers=headers) for _ in range(2))
    assert TRACE_ID.fullmatch(first.json()["trace_id"])
    assert TRACE not in first.json()["trace_id"].lower()
    assert first.json()["trace_id"] != second.json()["trace_id"]


def test_a_message_keeps_the_trace_id_of_its_post(client: TestClient) -> None:
    session_id = new_session(client)
    key = {"Idempotency-Key": "once"}
    sent = send(client, session_id, headers={"traceparent": PARENT} | key)
    message = f"/messages/{sent.json()['message_id']}"
    other = {"traceparent": OTHER}
    for answer in (
        sent,
        client.get(message, headers=other),
        client.get(f"{message}/full", headers=other),
        client.post(f"{message}/cancel", headers=other),
        send(client, session_id, headers=other | key),
    ):
        assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"] == f"trace_{TRACE}"
    [listed] = client.get(f"/sessions/{session_id}/messages", headers=other).json()
    assert listed["trace_id"] == f"trace_{TRACE}"


def test_a_failed_message_keeps_the_trace_id_of_its_post(idle: TestClient) -> None:
    session_id = new_session(idle)
    key = {"Idempotency-Key": "once"}
    sent = send(idle, session_id, headers={"traceparent": PARENT, "Prefer": "wait=0"} | key)
    cancelled = idle.post(f"/messages/{sent.json()['message_id']}/cancel")
    assert cancelled.json()["trace_id"] == f"trace_{TRACE}"
    problem = send(idle, session_id, headers={"traceparent": OTHER} | key)
    assert problem.json()["trace_id"] == problem.headers["X-Trace-Id"] == f"trace_{TRACE}"


def test_every_route_answers_with_the_trace_id(client: TestClient) -> None:
    app: Any = client.app
    project_id = new_project(client)
    session_id = new_session(client, project_id)
    sent = send(client, session_id, "Create a triage agent").json()
    message_id, trace_id = sent["message_id"], sent["trace_id"]
    webhook_id, delivery_id = new_delivery(client, project_id, session_id)
    known = {
        "webhook_id": webhook_id,
        "delivery_id": delivery_id,
        "project_id": project_id,
        "session_id": session_id,
        "message_id": message_id,
        "number": "1",
        "code": "cancelled",
        "trace_id": trace_id,
    }
    asked = 0
    for path, operations in app.openapi()["paths"].items():
        for method in operations.keys() - {"delete"}:  # the others need what it deletes
            answer = client.request(method, path.format(**known), headers={"traceparent": PARENT})
            assert TRACE_ID.fullmatch(answer.headers["X-Trace-Id"]), path
            kind = answer.headers["Content-Type"]
            if "json" in kind and isinstance(answer.json(), dict):
                assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"], path
            asked += 1
    assert asked > 20
    for path in (f"/sessions/{session_id}", f"/projects/{project_id}", "/openapi.json", "/docs"):
        assert client.request("DELETE", path).headers["X-Trace-Id"]
