"""The invariants themselves: each kind of damage is noticed, or the other tests prove nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.client import Client
from tests.faults.cluster import Cluster
from tests.faults.diffs import apply_unified
from tests.faults.invariants import Record, violations
from tests.faults.prompts import add_agent, prompt
from tests.services import wait_until


@dataclass(frozen=True)
class History:
    """Two messages that were answered, the first of which changed the code."""

    cluster: Cluster
    client: Client
    record: Record


@pytest.fixture(scope="module")
def history(shared_cluster: Cluster) -> Iterator[History]:
    shared_cluster.worker()
    client = shared_cluster.client()
    session = client.session()
    assert client.ask(session, prompt(add_agent("helper"))).status == 200
    assert client.ask(session, prompt()).status == 200
    wait_until(lambda: not shared_cluster.stale(), "the files to be written")
    yield History(shared_cluster, client, shared_cluster.record())
    shared_cluster.kill_workers()


def test_a_history_without_a_fault_violates_nothing(history: History) -> None:
    assert violations(history.record, history.client.sent) == []
    history.cluster.check(history.client)


def lose_an_item(record: Record) -> None:
    record.items.pop()


def double_a_message(record: Record) -> None:
    record.items[0].position, record.items[-1].position = 99, 0


def swap_two_messages(record: Record) -> None:
    first, second = (item.message_id for item in (record.items[0], record.items[-1]))
    for item in record.items:
        item.message_id = second if item.message_id == first else first


def keep_half_a_revision(record: Record) -> None:
    record.revisions[-1].code += "# another end\n"


def lose_a_revision(record: Record) -> None:
    del record.revisions[-1]


def forget_a_reply(record: Record) -> None:
    next(iter(record.messages.values())).reply = "another"


def leave_a_message_running(record: Record) -> None:
    next(iter(record.messages.values())).status = "in_progress"


def leave_an_attempt_open(record: Record) -> None:
    record.attempts[0].outcome = record.attempts[0].ended_at = None


def lose_an_attempt(record: Record) -> None:
    del record.attempts[0]


def lose_a_response(record: Record) -> None:
    record.responses.pop()


def answer_a_key_with_two_messages(record: Record) -> None:
    message = next(iter(record.messages.values()))
    message.content = next(reversed(record.messages.values())).content


DAMAGES = [
    lose_an_item,
    double_a_message,
    swap_two_messages,
    keep_half_a_revision,
    lose_a_revision,
    forget_a_reply,
    leave_a_message_running,
    leave_an_attempt_open,
    lose_an_attempt,
    lose_a_response,
    answer_a_key_with_two_messages,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_to_the_database_is_noticed(
    history: History, damage: Callable[[Record], None]
) -> None:
    record = replace(history.cluster.record())
    damage(record)
    found = violations(record, history.client.sent)
    assert found
    assert "Message: {'id': UUID(" in found[0]  # with the message's history


def test_a_file_that_differs_is_noticed(history: History, tmp_path: Path) -> None:
    (folder,) = (history.cluster.data(worker) for worker in history.cluster.workers)
    (path,) = folder.glob("*.db")
    assert history.cluster.stale() == []
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM agent_messages WHERE id = 1")
    assert history.cluster.stale() == [path]


def test_a_unified_diff_makes_the_new_text_or_is_refused() -> None:
    before = "".join(f"line {number}\n" for number in range(20)) + "no newline at the end"
    diff = "--- a\n+++ b\n@@ -2,2 +2,2 @@\n line 1\n-line 2\n+line two\n"
    assert apply_unified(before, diff) == before.replace("line 2\n", "line two\n")
    with pytest.raises(ValueError, match="line 3"):
        apply_unified(before.replace("line 2\n", str(uuid4())), diff)
