"""Checks and repairs of sessions whose rows are broken for real."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.calls import (
    ASYNC,
    NOBODYS_ID,
    assert_problem,
    new_session,
    send,
    wait_for_status,
)
from tests.api.document import check_answers
from tests.faults.prompts import add_agent, prompt
from tests.services import EmbeddedService
from tests.stub_process import StubOpenAI
from worker.memory.history import Maker, prepare

pytestmark = pytest.mark.services

Json = dict[str, Any]


@dataclass
class AppUnderTest:
    """A service whose rows a test may change behind its back."""

    client: httpx2.Client
    data: Path
    stub: StubOpenAI

    def conversation(self) -> "Conversation":
        """Have two messages answered: the first made a revision and four items, the second two."""
        session_id = new_session(self.client)
        texts = (prompt(add_agent("helper")), prompt())
        return Conversation(self, session_id, [self.answered(session_id, text) for text in texts])

    def answered(self, session_id: str, text: str) -> str:
        sent = send(self.client, session_id, text)
        assert sent.status_code == 200, sent.text
        return str(sent.json()["message_id"])

    def change(self, statement: str, **named: object) -> None:
        """Change rows of the database."""
        with closing(sqlite3.connect(self.data / "vibecoder.db", timeout=10)) as rows, rows:
            rows.execute(statement, named)


@dataclass
class Conversation:
    """A session of two answered messages."""

    app: AppUnderTest
    session_id: str
    messages: list[str]

    def check(self) -> Json:
        answer = self.app.client.get(f"/sessions/{self.session_id}/check")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        assert found["ok"] is (not found["findings"])
        assert found["session_id"] == self.session_id
        return found

    def repair(self) -> Json:
        answer = self.app.client.post(f"/sessions/{self.session_id}/repair")
        assert answer.status_code == 200, answer.text
        repaired: Json = answer.json()
        return repaired

    def change(self, statement: str) -> None:
        """Change rows: `:session`, `:first` and `:second` are known."""
        ids = [UUID(one).hex for one in (self.session_id, *self.messages)]
        named = dict(zip(("session", "first", "second"), ids, strict=True))
        used = {name: value for name, value in named.items() if f":{name}" in statement}
        self.app.change(statement, **used)

    def sees_what_is_remembered(self) -> None:
        """Send a message; compare what the model got with what the session remembers."""
        items = self.app.client.get(f"/sessions/{self.session_id}/items").json()
        notes = (one["item"].get("provider_data") for one in items)
        maker = Maker(**next(note for note in notes if note))
        remembered = [bare(one) for one in prepare([one["item"] for one in items], maker)]
        text = prompt()
        self.app.answered(self.session_id, text)
        (call,) = self.app.stub.requests(text)
        *before, own = [bare(item) for item in call["body"]["input"]]
        assert before == remembered
        assert own["content"] == text


def bare(item: Json) -> Json:
    return {name: value for name, value in item.items() if value is not None}


def codes(report: Json, members: str = "findings") -> list[str]:
    return [finding["code"] for finding in report[members]]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[AppUnderTest]:
    """Give a service of the module's own: a request for all sessions fails on a broken one."""
    settings = {"OPENAI_BASE_URL": stub.base_url, "VIBECODER_MODEL_RETRIES": "0"}
    with (
        EmbeddedService(tmp_path_factory.mktemp("checked"), settings) as service,
        httpx2.Client(base_url=service.url, timeout=30, trust_env=False) as client,
    ):
        data = Path(service.settings["VIBECODER_DATA_DIR"])
        yield AppUnderTest(check_answers(client), data, stub)


@pytest.fixture
def conversation(app: AppUnderTest) -> Conversation:
    return app.conversation()


def test_nothing_is_wrong_with_a_session_that_nobody_broke(conversation: Conversation) -> None:
    found = conversation.check()
    assert found["ok"]
    assert (found["items"], found["messages"], found["generation"]) == (6, 2, 1)
    assert conversation.repair()["mended"] == []


def test_a_session_without_messages_and_a_cleared_one_are_whole(app: AppUnderTest) -> None:
    session_id = new_session(app.client)
    assert Conversation(app, session_id, []).check()["ok"]
    app.answered(session_id, prompt())
    app.client.delete(f"/sessions/{session_id}")
    cleared = Conversation(app, session_id, []).check()
    assert (cleared["ok"], cleared["generation"], cleared["items"]) == (True, 2, 0)


def test_forks_failed_and_cancelled_messages_are_whole(app: AppUnderTest) -> None:
    session_id = new_session(app.client)
    message_id = app.answered(session_id, prompt(add_agent("helper")))
    send(app.client, session_id, prompt("status 400"))
    running = send(app.client, session_id, prompt("hang"), ASYNC).json()["message_id"]
    queued = send(app.client, session_id, prompt(), ASYNC).json()["message_id"]
    wait_for_status(app.client, running, "in_progress")
    conversation = Conversation(app, session_id, [])
    assert conversation.check()["findings"] == []
    for one in (queued, running):
        app.client.post(f"/messages/{one}/cancel")
    assert conversation.check()["findings"] == []
    forked = app.client.post(f"/messages/{message_id}/fork").json()["session_id"]
    app.answered(forked, prompt())
    assert Conversation(app, forked, []).check()["findings"] == []


ROWS: list[tuple[str, list[str], list[str]]] = [
    # what is done to the rows; what a check finds then; what a repair cannot mend
    (
        "DELETE FROM items WHERE session_id = :session AND position = 1",
        ["items_missing", "item_count_wrong"],
        [],
    ),
    (
        "DELETE FROM items WHERE session_id = :session AND position = 5",
        ["item_count_wrong"],
        [],
    ),
    (
        "DELETE FROM items WHERE message_id = :second",
        ["item_count_wrong", "last_message_wrong", "message_forgotten"],
        ["message_forgotten"],
    ),
    ("UPDATE sessions SET item_count = 99 WHERE id = :session", ["item_count_wrong"], []),
    (
        "UPDATE sessions SET last_message_id = :first WHERE id = :session",
        ["last_message_wrong"],
        [],
    ),
    ("UPDATE sessions SET next_seq = 2 WHERE id = :session", ["next_seq_wrong"], []),
    (
        "UPDATE attempts SET outcome = NULL, ended_at = NULL WHERE message_id = :second",
        ["attempt_open"],
        [],
    ),
    (
        "UPDATE attempts SET outcome = 'lost' WHERE message_id = :second",
        ["attempt_outcome_wrong"],
        [],
    ),
    ("DELETE FROM attempts WHERE message_id = :second", ["attempt_missing"], ["attempt_missing"]),
    (
        "DELETE FROM message_responses WHERE message_id = :second",
        ["response_missing"],
        ["response_missing"],
    ),
    ("DELETE FROM revisions WHERE message_id = :first", ["revision_missing"], ["revision_missing"]),
    (
        "UPDATE messages SET status = 'failed', error = '{}' WHERE id = :second",
        ["item_of_unanswered", "attempt_outcome_wrong"],
        ["item_of_unanswered", "attempt_outcome_wrong"],
    ),
    (
        "UPDATE items SET position = position + 10 WHERE message_id = :first",
        [
            "items_missing",
            "last_message_wrong",
            "items_out_of_order",
        ],
        ["items_out_of_order"],
    ),
]


@pytest.mark.parametrize(("damage", "found", "left"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_broken_rows_are_found_and_mended_where_that_can_be(
    conversation: Conversation, damage: str, found: list[str], left: list[str]
) -> None:
    conversation.change(damage)

    assert codes(conversation.check()) == found
    assert codes(conversation.check()) == found, "a check changes nothing"

    repaired = conversation.repair()
    assert codes(repaired, "mended") == [code for code in found if code not in left]
    assert codes(repaired) == left
    after = conversation.check()
    assert codes(after) == left
    assert not any(finding["repairable"] for finding in after["findings"])
    if "item_of_unanswered" not in left:
        conversation.sees_what_is_remembered()
        assert codes(conversation.check()) == left


def test_a_check_tells_why_the_model_refuses_the_conversation(conversation: Conversation) -> None:
    send(conversation.app.client, conversation.session_id, prompt("status 400", "No tool output"))
    found = conversation.check()
    [finding] = found["findings"]
    assert (found["ok"], finding["code"]) == (False, "history_rejected")
    assert finding["message_id"] not in {None, *conversation.messages}
    assert "/fork" in finding["advice"]
    assert "DELETE /sessions/{id}" in finding["advice"]
    conversation.app.answered(conversation.session_id, prompt())
    assert conversation.check()["ok"]


def test_a_session_at_work_is_checked_but_not_repaired(
    app: AppUnderTest, conversation: Conversation
) -> None:
    text = prompt("hang")
    running = send(app.client, conversation.session_id, text, ASYNC).json()["message_id"]
    wait_for_status(app.client, running, "in_progress")
    assert conversation.check()["ok"]
    refused = app.client.post(f"/sessions/{conversation.session_id}/repair")
    assert_problem(refused, 409, "session_busy")
    app.client.post(f"/messages/{running}/cancel")
    assert conversation.repair()["ok"]


@pytest.mark.parametrize(("method", "verb"), [("GET", "check"), ("POST", "repair")])
def test_no_worker_is_needed(idle: TestClient, method: str, verb: str) -> None:
    answer = idle.request(method, f"/sessions/{new_session(idle)}/{verb}")
    assert (answer.status_code, answer.json()["ok"]) == (200, True)


@pytest.mark.parametrize(("method", "verb"), [("GET", "check"), ("POST", "repair")])
def test_a_session_that_is_not_there_is_not_checked(
    client: TestClient, method: str, verb: str
) -> None:
    answer = client.request(method, f"/sessions/{NOBODYS_ID}/{verb}")
    assert_problem(answer, 404, "session_not_found")
