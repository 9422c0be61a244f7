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


class House:
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
        found += wrong_memories(self.record, url, [self.data / "sessions"])
        assert not found, "\n".join(found)


@pytest.fixture
def house(tmp_path: Path, stub: StubOpenAI) -> Iterator[House]:
    house = House(tmp_path, stub)
    yield house
    house.service.kill()


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
    house: House, moment: str, lost: int
) -> None:
    house.arm(moment)
    house.service.start()
    session = house.client.session()
    asked = house.client.asking(session, prompt(add_agent("helper")))
    wait_until(lambda: not house.service.running, "the process to die", timeout=30)
    house.arm("")
    house.service.start()
    answer = asked.result(30)
    assert (answer.status, answer.body["revision"]) == (200, 2)
    assert house.outcomes(answer.message_id) == ["lost"] * lost + ["completed"]
    assert house.client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    house.check()


def test_a_process_killed_while_the_model_talks_answers_soon_after_its_next_start(
    house: House,
) -> None:
    house.service.start()
    session = house.client.session()
    text = prompt("hang times 1")
    asked = house.client.asking(session, text)
    queued = house.client.send(session, prompt(), wait=0)
    house.called(text)
    house.service.kill()
    house.service.start()
    back = time.monotonic()
    answer = asked.result(30)
    assert time.monotonic() - back < 4  # no lease has to run out
    assert house.outcomes(answer.message_id) == ["lost", "completed"]
    assert house.client.insist(queued).status == 200
    house.check()


def test_the_spans_of_a_killed_attempt_are_there_as_far_as_it_came(house: House) -> None:
    house.service.start()
    asked = house.client.asking(house.client.session(), prompt("hang times 1"))
    wait_until(lambda: "generation" in _kinds(house), "spans to be stored", timeout=30)
    house.service.kill()
    house.service.start()
    answer = asked.result(30)
    url = f"{house.service.url}/traces/{answer.body['trace_id']}"
    first, second = httpx2.get(url, trust_env=False).json()["messages"][0]["attempts"]
    assert (first["outcome"], second["outcome"]) == ("lost", "completed")
    assert [span["kind"] for span in first["spans"]] == ["task", "agent", "turn", "generation"]
    assert not any(span["ended_at"] for span in first["spans"])
    assert all(span["ended_at"] for span in second["spans"])


def _kinds(house: House) -> list[str]:
    """List the spans that are in the database."""
    with closing(sqlite3.connect(house.data / "vibecoder.db")) as db:
        found = db.execute("SELECT spans FROM attempts WHERE spans IS NOT NULL").fetchall()
    return [span["kind"] for (spans,) in found for span in json.loads(spans)]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.short), signal.SIGTERM]
)
def test_a_process_that_is_told_to_stop_releases_what_runs_at_once(
    house: House, number: signal.Signals
) -> None:
    house.service.start()
    session = house.client.session()
    text = prompt("hang times 1")
    asked = house.client.asking(session, text)
    house.called(text)
    began = time.monotonic()
    house.service.send_signal(number)
    wait_until(lambda: not house.service.running, "the process to end", timeout=15)
    assert time.monotonic() - began < 4
    assert "Traceback" not in house.service.output()
    (message,) = house.record.messages.values()
    assert (message.status, message.lost_count) == ("queued", 0)
    assert len(house.stub.requests(text)) == 1  # and nothing was begun again meanwhile
    house.service.start()
    answer = asked.result(30)
    assert house.outcomes(answer.message_id) == ["released", "completed"]
    house.check()


def test_a_second_process_on_the_same_folder_is_refused_with_a_sentence(
    house: House, tmp_path: Path
) -> None:
    house.service.start()
    folder = {"VIBECODER_DATA_DIR": str(house.data)}
    second = EmbeddedService(tmp_path, folder, name="second")
    second.launch()
    wait_until(lambda: not second.running, "the second process to end", timeout=20)
    assert "Another service uses the folder" in second.output()
    assert "Traceback" not in second.output()
    assert house.client.ask(house.client.session(), prompt()).status == 200
    house.check()


def test_spoiled_files_are_made_anew_from_the_database(house: House) -> None:
    house.service.start()
    session = house.client.session()
    assert house.client.ask(session, prompt(add_agent("helper"))).status == 200
    shutil.rmtree(house.data / "sessions")
    assert house.client.ask(session, prompt()).body["reply"].startswith("echo 5: ")
    for path in (house.data / "sessions").glob("*.db"):
        path.write_bytes(json.dumps("nonsense").encode() * 1000)
    assert house.client.ask(session, prompt()).body["reply"].startswith("echo 7: ")
    house.check()
