"""What tests of the API say again and again."""

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2

from tests.canaries import PROMPT
from tests.services import wait_until

T = TypeVar("T")
ASYNC = {"Prefer": "respond-async"}
TRACE_ID = re.compile("trace_[0-9a-f]{32}")
# always the same: it is in the names of tests, and all processes of a run must collect the same
NOBODYS_ID = "5f1f5a1e-0c5b-4d6e-9d0a-2f6b7c8d9e0f"


def new_project(client: httpx2.Client, **body: Any) -> str:
    """Make a project; return its id."""
    created = client.post("/projects", json={"name": "Test"} | body)
    assert created.status_code == 201, created.text
    return str(created.json()["id"])


def new_session(client: httpx2.Client, project_id: str | None = None, **body: Any) -> str:
    """Make a session, in a project of its own unless one is named; return its id."""
    project_id = project_id or new_project(client)
    opened = client.post(f"/projects/{project_id}/sessions", json=body)
    assert opened.status_code == 201, opened.text
    return str(opened.json()["session_id"])


def new_webhook(
    client: httpx2.Client, project_id: str, url: str = "https://example.com/hook", **body: Any
) -> dict[str, Any]:
    """Make a webhook; return it with its secret."""
    made = client.post(f"/projects/{project_id}/webhooks", json={"url": url} | body)
    assert made.status_code == 201, made.text
    webhook: dict[str, Any] = made.json()
    return webhook


def new_delivery(client: httpx2.Client, project_id: str, session_id: str) -> tuple[str, str]:
    """Make a webhook that is to be told of a cancelled message; return its and the delivery's id.

    No worker can tell it: the name of its host is of those that do not exist.
    """
    webhook_id = new_webhook(client, project_id, "https://hooks.invalid/")["id"]
    sent = send(client, session_id, headers=ASYNC).json()
    client.post(f"/messages/{sent['message_id']}/cancel")
    deliveries = client.get(f"/webhooks/{webhook_id}/deliveries").json()
    return webhook_id, deliveries[0]["id"]


def send(
    client: httpx2.Client,
    session_id: str,
    prompt: str = f"What does this workflow do? {PROMPT}",
    headers: dict[str, str] | None = None,
    **options: Any,
) -> httpx2.Response:
    """Send a prompt."""
    body = {"prompt": prompt} | options
    return client.post(f"/sessions/{session_id}/messages", json=body, headers=headers)


def request_json(client: httpx2.Client, method: str, path: str, body: object) -> httpx2.Response:
    """Send JSON as escaped ASCII, which can say what UTF-8 cannot."""
    headers = {"Content-Type": "application/json"}
    return client.request(method, path, content=json.dumps(body).encode(), headers=headers)


def statuses(client: httpx2.Client, session_id: str) -> list[str]:
    """List what became of a session's messages."""
    return [message["status"] for message in client.get(f"/sessions/{session_id}/messages").json()]


def wait_for_status(client: httpx2.Client, message_id: str, status: str) -> None:
    """Wait until a message is there."""
    wait_until(
        lambda: client.get(f"/messages/{message_id}").json()["status"] == status,
        f"message to be {status}",
    )


def assert_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a whole problem of that kind; return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{code}"
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    assert TRACE_ID.fullmatch(problem["trace_id"])
    assert response.headers["X-Trace-Id"] == problem["trace_id"]
    return problem


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same time; return what they return, in their order."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(lambda call: call(), calls))
