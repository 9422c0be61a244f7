"""Lists come in pages, and the `Link` header leads through all of them."""

import json
import re
import sqlite3
from contextlib import closing
from typing import Any, cast
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
    new_webhook,
    send,
)

NEXT = re.compile(r'<(/[^>]*)>; rel="next"')


def pages(client: httpx2.Client, path: str) -> list[list[dict[str, Any]]]:
    found = []
    link: str | None = path
    while link:
        answer = client.get(link)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        header = answer.headers.get("Link")
        link = NEXT.fullmatch(header)[1] if header else None  # type: ignore[index]
    return found


def filled(client: TestClient) -> dict[str, str]:
    """Make five of everything; return the path of each list."""
    project_id = [new_project(client, code=f"x = {n}\n") for n in range(5)][-1]
    project = f"/projects/{project_id}"
    cleared, *_, session_id = [new_session(client, project_id, node_id=f"a{n}") for n in range(5)]
    webhook = f"/webhooks/{new_webhook(client, project_id)['id']}"
    for number in range(5):
        send(client, session_id, str(number), headers=ASYNC)
        send(client, cleared, str(number), headers=ASYNC)
    client.delete(f"/sessions/{cleared}")
    for number in range(10, 14):
        client.patch(project, json={"code": f"x = {number}\n"})
    return {
        "deliveries": f"{webhook}/deliveries",
        "projects": "/projects",
        "sessions": f"{project}/sessions",
        "revisions": f"{project}/revisions",
        "messages": f"/sessions/{session_id}/messages",
    }


def test_all_pages_together_are_the_whole_list(idle: TestClient) -> None:
    identity = {"revisions": "number", "sessions": "session_id", "messages": "message_id"}
    for kind, path in filled(idle).items():
        key = identity.get(kind, "id")
        whole = [entry[key] for entry in idle.get(path).json()]
        assert len(whole) == 5, kind
        for limit, sizes in ((2, [2, 2, 1]), (5, [5, 0]), (6, [5])):
            found = pages(idle, f"{path}?limit={limit}")
            assert [len(page) for page in found] == sizes, kind
            assert [entry[key] for page in found for entry in page] == whole, kind


def test_items_are_paged_too(client: TestClient) -> None:
    session_id = new_session(client)
    send(client, session_id, "Create a triage agent")
    found = pages(client, f"/sessions/{session_id}/items?limit=1")
    positions = [item["position"] for page in found for item in page]
    assert positions == list(range(len(found) - 1))
    assert len(positions) >= 4


def test_a_cursor_of_no_page_is_refused(client: TestClient) -> None:
    project_id = new_project(client)
    session_id = new_session(client, project_id)
    paths = (
        "/projects",
        f"/projects/{project_id}/sessions",
        f"/projects/{project_id}/revisions",
        f"/sessions/{session_id}/messages",
        f"/sessions/{session_id}/items",
        f"/webhooks/{new_webhook(client, project_id)['id']}/deliveries",
    )
    # each list reads its cursor as an id or as a number
    for after in ("nobody", "-1", "1.5", "9" * 10, NOBODYS_ID, "x" * 65, ""):
        for path in paths:
            answer = client.get(path, params={"after": after})
            problem = assert_problem(answer, 422, "invalid_request")
            assert problem["errors"][0]["parameter"] == "after", (path, after)


def test_a_page_ends_where_its_entries_become_too_large(
    idle: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.pages.LARGEST_PAGE", 1000)
    session_id = new_session(idle)
    sizes = [400, 400, 400, 2000, 100, 100]
    sent = [
        send(idle, session_id, "a" * size, headers=ASYNC).json()["message_id"] for size in sizes
    ]
    item = json.dumps({"role": "user", "content": "a" * 380})
    settings = idle.app.state.services.settings  # type: ignore[attr-defined]
    with closing(sqlite3.connect(settings.database_location)) as db:
        rows = [(UUID(session_id).hex, n, UUID(sent[0]).hex, item) for n in range(5)]
        db.executemany("INSERT INTO items VALUES (?, 1, ?, ?, ?)", rows)
        db.commit()
    found = pages(cast(httpx2.Client, idle), f"/sessions/{session_id}/messages")
    assert [[len(one["content"]) for one in page] for page in found] == [
        [400, 400],
        [400],
        [2000],
        [100, 100],
    ]
    items = pages(cast(httpx2.Client, idle), f"/sessions/{session_id}/items")
    assert [[one["position"] for one in page] for page in items] == [[0, 1], [2, 3], [4]]
