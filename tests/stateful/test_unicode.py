"""Text comes back as it went in: from the API, the database and the memory files."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given

from tests.api.calls import assert_problem, new_project, new_session, request_json, statuses
from tests.distributed import DISTRIBUTED, Distributed
from tests.services import EmbeddedService, WorkerProcess, wait_until
from tests.stateful import fewer
from tests.stateful.texts import ANY_PROMPT, NO_TEXT, PROMPTS

_OFFLINE = {"model": "offline"}


class Place:
    """A service and the folders of its session files."""

    def __init__(
        self, client: httpx2.Client, processes: Iterable[EmbeddedService | WorkerProcess]
    ) -> None:
        self.client = client
        self.folders = [Path(each.settings["VIBECODER_DATA_DIR"]) for each in processes]

    def remembered(self, session_id: str) -> list[Any]:
        """Read the items of the session's own file, as they stand there."""
        query = "SELECT message_data FROM agent_messages ORDER BY id"
        for folder in self.folders:
            for file in folder.glob(f"sessions/**/{session_id}.*.db"):
                with (
                    suppress(sqlite3.OperationalError),  # it is being made
                    closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db,
                ):
                    return [json.loads(row[0]) for row in db.execute(query)]
        return []


@pytest.fixture
def single(live: httpx2.Client, embedded: EmbeddedService) -> Place:
    return Place(live, [embedded])


@pytest.fixture(params=["embedded", DISTRIBUTED])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give the service on SQLite, or on PostgreSQL and Redis."""
    if request.param == "embedded":
        yield request.getfixturevalue("single")
        return
    distributed: Distributed = request.getfixturevalue("distributed")
    with httpx2.Client(base_url=distributed.api.url, timeout=60, trust_env=False) as client:
        yield Place(client, distributed.workers)


def test_a_prompt_of_any_kind_comes_back_as_it_went_in(
    place: Place, subtests: pytest.Subtests
) -> None:
    for kind, text in PROMPTS.items():
        with subtests.test(kind):
            comes_back(place, text)


@fewer()
@given(text=ANY_PROMPT)
def test_any_prompt_comes_back_as_it_went_in(single: Place, text: str) -> None:
    comes_back(single, text)


def comes_back(place: Place, text: str) -> None:
    session_id = new_session(place.client)
    address = f"/sessions/{session_id}"
    sent = request_json(place.client, "POST", f"{address}/messages", {"prompt": text} | _OFFLINE)
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


def test_names_titles_and_code_come_back_as_they_went_in(
    place: Place, subtests: pytest.Subtests
) -> None:
    for kind in sorted(PROMPTS.keys() - {"blanks", "long"}):
        with subtests.test(kind):
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


def test_what_is_no_text_is_refused_everywhere_and_leaves_nothing(
    place: Place, subtests: pytest.Subtests
) -> None:
    for kind, text in NO_TEXT.items():
        with subtests.test(kind):
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
                answer = request_json(place.client, method, path, body)
                assert answer.status_code == 422, (path, body)
            assert statuses(place.client, session_id) == []
            assert place.client.get(f"/projects/{project_id}").json()["name"] == "Test"


def test_a_prompt_may_be_as_long_as_the_limit_and_no_longer(place: Place) -> None:
    session_id = new_session(place.client)
    path = f"/sessions/{session_id}/messages"
    longest = "\U0001f600" * 1_000_000
    answer = place.client.post(path, json={"prompt": longest} | _OFFLINE)
    assert answer.status_code == 200
    assert answer.json()["content"] == longest
    too_long = place.client.post(path, json={"prompt": longest + "x"})
    assert_problem(too_long, 422, "invalid_request")
    assert len(too_long.content) < 1000, "the value is not quoted"
    assert_problem(place.client.post(path, json={"prompt": longest * 2}), 413, "body_too_large")
    assert statuses(place.client, session_id) == ["completed"]
