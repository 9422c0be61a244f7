"""Text comes back as it went in: from the API, the database and the memory files."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given

from tests.api.calls import assert_problem, new_project, new_session, request_json, statuses
from tests.services import (
    ApiProcess,
    EmbeddedService,
    RedisServer,
    WorkerProcess,
    terminate_all,
    wait_until,
)
from tests.stateful.texts import ANY_PROMPT, NO_TEXT, PROMPTS

_OFFLINE = {"VIBECODER_MODEL": "offline"}


class Place:
    """A service and the folder of its session files."""

    def __init__(self, client: httpx2.Client, data_dir: str) -> None:
        self.client = client
        self.files = Path(data_dir) / "sessions"

    def remembered(self, session_id: str) -> list[Any]:
        """Read the items of the session's own file, as they stand there."""
        query = "SELECT message_data FROM agent_messages ORDER BY id"
        for file in self.files.glob(f"{session_id}.*.db"):
            with (
                suppress(sqlite3.OperationalError),  # it is being made
                closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db,
            ):
                return [json.loads(row[0]) for row in db.execute(query)]
        return []


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with (
        EmbeddedService(tmp_path_factory.mktemp("unicode"), _OFFLINE) as service,
        httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as client,
    ):
        yield Place(client, service.settings["VIBECODER_DATA_DIR"])


@pytest.fixture(scope="module")
def distributed(
    tmp_path_factory: pytest.TempPathFactory,
    make_database: Callable[[], str],
    redis_server: RedisServer,
) -> Iterator[Place]:
    settings = _OFFLINE | {
        "VIBECODER_DATABASE_URL": make_database(),
        "VIBECODER_REDIS_URL": redis_server.url,
        "VIBECODER_NAMESPACE": "unicode",
    }
    directory = tmp_path_factory.mktemp("unicode")
    worker, api = WorkerProcess(directory, settings), ApiProcess(directory, settings)
    try:
        for process in (worker, api):
            process.launch()
        for process in (worker, api):
            process.wait_ready()
        with httpx2.Client(base_url=api.url, timeout=60, trust_env=False) as client:
            yield Place(client, worker.settings["VIBECODER_DATA_DIR"])
    finally:
        terminate_all([worker, api])


@pytest.fixture(params=["embedded", "distributed"])
def place(request: pytest.FixtureRequest) -> Place:
    """Give the service on SQLite, and on PostgreSQL and Redis."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("kind", PROMPTS)
def test_a_prompt_of_any_kind_comes_back_as_it_went_in(place: Place, kind: str) -> None:
    comes_back(place, PROMPTS[kind])


@given(text=ANY_PROMPT)
def test_any_prompt_comes_back_as_it_went_in(embedded: Place, text: str) -> None:
    comes_back(embedded, text)


def comes_back(place: Place, text: str) -> None:
    session_id = new_session(place.client)
    address = f"/sessions/{session_id}"
    sent = request_json(place.client, "POST", f"{address}/messages", {"prompt": text})
    assert sent.status_code == 200, sent.text[:500]
    message_id = sent.json()["message_id"]
    assert sent.json()["content"] == text
    assert place.client.get(f"/messages/{message_id}").json()["content"] == text
    full = place.client.get(f"/messages/{message_id}/full").json()
    assert full["content"] == full["items"][0]["content"] == text
    assert [one["content"] for one in place.client.get(f"{address}/messages").json()] == [text]
    items = [one["item"] for one in place.client.get(f"{address}/items").json()]
    assert items[0] == {"role": "user", "content": text}
    # the file follows the reply
    wait_until(lambda: place.remembered(session_id) == items, "the memory file")


@pytest.mark.parametrize("kind", sorted(PROMPTS.keys() - {"blanks", "long"}))
def test_names_titles_and_code_come_back_as_they_went_in(place: Place, kind: str) -> None:
    text = PROMPTS[kind][:190]
    name = f"({text})"  # blanks at the ends would be cut off
    code = f"x = {json.dumps(text, ensure_ascii=False)[1:-1]!r}\n"
    body = {"name": name, "instructions": text, "code": code}
    made = request_json(place.client, "POST", "/projects", body)
    assert made.status_code == 201, made.text[:500]
    project = place.client.get(f"/projects/{made.json()['id']}").json()
    assert {key: project[key] for key in body} == body
    assert place.client.get(f"/projects/{project['id']}/code").content == code.encode()
    session_id = new_session(place.client, project["id"], title=text)
    assert place.client.get(f"/sessions/{session_id}").json()["title"] == text


@pytest.mark.parametrize("kind", NO_TEXT)
def test_what_is_no_text_is_refused_everywhere_and_leaves_nothing(place: Place, kind: str) -> None:
    text = NO_TEXT[kind]
    project_id = new_project(place.client)
    session_id = new_session(place.client, project_id)
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", f"/sessions/{session_id}/messages", {"prompt": text}),
        ("POST", "/projects", {"name": text}),
        ("PATCH", f"/projects/{project_id}", {"name": text}),
    ]
    if text:
        bodies += [
            ("POST", f"/sessions/{session_id}/messages", {"prompt": "x", "model": text}),
            ("POST", f"/sessions/{session_id}/messages", {"prompt": "x", text: 1}),
            ("POST", "/projects", {"name": "x", "instructions": text}),
            ("POST", "/projects", {"name": "x", "code": f"x = '{text}'"}),
            ("PATCH", f"/sessions/{session_id}", {"title": text}),
            ("POST", f"/projects/{project_id}/sessions", {"title": text}),
            ("POST", f"/projects/{project_id}/sessions", {"node_id": text}),
        ]
    for method, path, body in bodies:
        assert request_json(place.client, method, path, body).status_code == 422, (path, body)
    assert statuses(place.client, session_id) == []
    assert place.client.get(f"/projects/{project_id}").json()["name"] == "Test"


def test_a_prompt_may_be_as_long_as_the_limit_and_no_longer(place: Place) -> None:
    session_id = new_session(place.client)
    path = f"/sessions/{session_id}/messages"
    longest = "\U0001f600" * 1_000_000
    answer = place.client.post(path, json={"prompt": longest})
    assert answer.status_code == 200
    assert answer.json()["content"] == longest
    too_long = place.client.post(path, json={"prompt": longest + "x"})
    assert_problem(too_long, 422, "invalid_request")
    assert len(too_long.content) < 1000, "the value is not quoted"
    assert_problem(place.client.post(path, json={"prompt": longest * 2}), 413, "body_too_large")
    assert statuses(place.client, session_id) == ["completed"]
