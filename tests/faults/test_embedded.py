"""The same promises in one process on SQLite: killed, told to stop, started twice, spoiled."""

import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from tests.faults.client import Client
from tests.faults.invariants import Record, read_record, violations
from tests.faults.memories import wrong_memories
from tests.faults.prompts import add_agent, prompt
from tests.services import EmbeddedService, wait_until
from tests.stub_process import StubOpenAI


class AppUnderTest:
    """An embedded service, its client and its data."""

    def __init__(self, directory: Path, stub: StubOpenAI, **settings: str) -> None:
        own = {"VIBECODER_MODEL": "stub", "OPENAI_BASE_URL": stub.base_url}
        self.service = EmbeddedService(directory, own | settings)
        self.data = Path(self.service.settings["VIBECODER_DATA_DIR"])
        self.client = Client([self.service.url])
        self.stub = stub

    def arm(self, moment: str) -> None:
        """Name the moment at which the process dies after its next start; empty: none."""
        self.service.settings["VIBECODER_FAULT_POINT"] = moment

    @property
    def record(self) -> Record:
        """Read the whole database."""
        return read_record(f"sqlite:///{self.data}/vibecoder.db")

    def outcomes(self, message_id: str | None) -> list[str | None]:
        """Return how a message's attempts ended."""
        assert message_id
        return [attempt.outcome for attempt in self.record.attempts_of(UUID(message_id))]

    def called(self, text: str, times: int = 1) -> None:
        """Wait until the model was called so often with a text."""
        wait_until(lambda: len(self.stub.requests(text)) >= times, "the model call", timeout=30)

    def check(self) -> None:
        """Fail unless all invariants hold."""
        url = f"sqlite:///{self.data}/vibecoder.db"
        found = violations(self.record, self.client.sent)
        found += wrong_memories(self.record, url, [self.data / "sessions" / "1"])
        assert not found, "\n".join(found)


@pytest.fixture
def app(tmp_path: Path, stub: StubOpenAI) -> Iterator[AppUnderTest]:
    app = AppUnderTest(tmp_path, stub)
    yield app
    app.service.kill()


@pytest.mark.parametrize(
    ("moment", "lost"),
    [
        ("before_claim", 0),
        ("in_tool", 1),
        ("before_commit", 1),
        ("after_commit", 0),
        ("after_publish", 0),
        ("in_sync", 0),
    ],
)
def test_a_process_that_dies_at_a_moment_goes_on_where_it_was_when_it_starts_again(
    app: AppUnderTest, moment: str, lost: int
) -> None:
    app.arm(moment)
    app.service.start()
    session = app.client.session()
    asked = app.client.asking(session, prompt(add_agent("helper")))
    wait_until(lambda: not app.service.running, "the process to die", timeout=30)
    app.arm("")
    app.service.start()
    answer = asked.result(30)
    assert (answer.status, answer.body["revision"]) == (200, 2)
    assert app.outcomes(answer.message_id) == ["lost"] * lost + ["completed"]
    assert app.client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    app.check()


def test_a_process_killed_while_the_model_talks_answers_soon_after_its_next_start(
    app: AppUnderTest,
) -> None:
    app.service.settings["VIBECODER_LEASE_S"] = "90"  # nobody waits for its end
    app.service.start()
    session = app.client.session()
    text = prompt("hang times 1")
    asked = app.client.asking(session, text)
    queued = app.client.send(session, prompt(), wait=0)
    app.called(text)
    app.service.kill()
    app.service.start()
    answer = asked.result(30)
    assert app.outcomes(answer.message_id) == ["lost", "completed"]
    assert app.client.insist(queued).status == 200
    app.check()


def test_the_spans_of_a_killed_attempt_are_there_as_far_as_it_came(app: AppUnderTest) -> None:
    app.service.start()
    asked = app.client.asking(app.client.session(), prompt("hang times 1"))
    wait_until(lambda: "generation" in _kinds(app), "spans to be stored", timeout=30)
    app.service.kill()
    app.service.start()
    answer = asked.result(30)
    url = f"{app.service.url}/traces/{answer.body['trace_id']}"
    first, second = httpx2.get(url, trust_env=False).json()["messages"][0]["attempts"]
    assert (first["outcome"], second["outcome"]) == ("lost", "completed")
    assert [span["kind"] for span in first["spans"]] == ["task", "agent", "turn", "generation"]
    assert not any(span["ended_at"] for span in first["spans"])
    assert all(span["ended_at"] for span in second["spans"])


def _kinds(app: AppUnderTest) -> list[str]:
    """List the spans that are in the database."""
    with closing(sqlite3.connect(app.data / "vibecoder.db")) as db:
        found = db.execute("SELECT spans FROM attempts WHERE spans IS NOT NULL").fetchall()
    return [span["kind"] for (spans,) in found for span in json.loads(spans)]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.short), signal.SIGTERM]
)
def test_a_process_that_is_told_to_stop_releases_what_runs_at_once(
    app: AppUnderTest, number: signal.Signals
) -> None:
    app.service.start()
    session = app.client.session()
    text = prompt("hang times 1")
    asked = app.client.asking(session, text)
    app.called(text)
    began = time.monotonic()
    app.service.send_signal(number)
    wait_until(lambda: not app.service.running, "the process to end", timeout=15)
    assert time.monotonic() - began < 15  # the model is silent for 120 s
    assert "Traceback" not in app.service.output()
    (message,) = app.record.messages.values()
    assert (message.status, message.lost_count) == ("queued", 0)
    assert len(app.stub.requests(text)) == 1  # and nothing was begun again meanwhile
    app.service.start()
    answer = asked.result(30)
    assert app.outcomes(answer.message_id) == ["released", "completed"]
    app.check()


def test_a_second_process_on_the_same_folder_is_refused_with_a_sentence(
    app: AppUnderTest, tmp_path: Path
) -> None:
    app.service.start()
    folder = {"VIBECODER_DATA_DIR": str(app.data)}
    second = EmbeddedService(tmp_path, folder, name="second")
    second.launch()
    wait_until(lambda: not second.running, "the second process to end", timeout=20)
    assert "Another service uses the folder" in second.output()
    assert "Traceback" not in second.output()
    assert app.client.ask(app.client.session(), prompt()).status == 200
    app.check()


def test_spoiled_files_are_made_anew_from_the_database(app: AppUnderTest) -> None:
    app.service.start()
    session = app.client.session()
    assert app.client.ask(session, prompt(add_agent("helper"))).status == 200
    shutil.rmtree(app.data / "sessions")
    assert app.client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    for path in (app.data / "sessions" / "1").glob("*.db"):
        path.write_bytes(json.dumps("nonsense").encode() * 1000)
    assert app.client.ask(session, prompt()).body["reply"].startswith("echo 7: ")
    app.check()
