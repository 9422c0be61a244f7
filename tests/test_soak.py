"""What a soak concludes from what it saw: tests/soak itself needs Docker and its time."""

import json

import httpx2
import pytest

from tests.faults.client import Sent
from tests.soak.caller import Asked, Caller
from tests.soak.deployment import Container
from tests.soak.harm import AFTER_S, Harm
from tests.soak.logs import Line, unexplained
from tests.soak.memory import Memory, megabytes

STAMP = "2026-11-22T18:16:23.691159068Z"
CRASH = Harm("worker crashed", began=100, ended=110)


def line(text: str) -> Line:
    read = Line.read(f"\x1b[2Kworker-1  | {STAMP} {text}")
    assert read
    assert read.service == "worker"
    return read


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ('{"event": "sweep failed", "level": "error"}', True),
        ('{"event": "worker ready", "level": "info"}', False),
        ("2026/11/22 18:16:23 [error] 29#29: *1 connect() failed", True),
        ("2026-11-22 18:16:09.206 UTC [1] FATAL:  terminating connection", True),
        ("2026-11-22 18:16:09.206 UTC [1] LOG:  starting PostgreSQL", False),
        ("1:M 22 Nov 2026 18:16:07.125 # WARNING Memory overcommit", True),
        ("1:M 22 Nov 2026 18:16:07.126 * Ready to accept connections", False),
        ("Traceback (most recent call last):", True),
        (" -------------- celery@15c2be3eeff6 v5.7.0", False),
    ],
)
def test_a_warning_is_one_in_each_programs_own_words(text: str, bad: bool) -> None:
    assert line(text).bad is bad


def test_only_a_fault_that_is_felt_explains_a_warning() -> None:
    lines = [Line("api", at, "[warn] ") for at in (99, 105, 110 + AFTER_S - 1, 110 + AFTER_S + 1)]
    assert [one.at for one in unexplained(lines, [CRASH])] == [99, 110 + AFTER_S + 1]


def test_growth_is_that_of_one_process_and_not_of_its_successor() -> None:
    assert megabytes("104.9MiB") == pytest.approx(110, abs=0.1)
    memory = Memory(began=0)
    lives = [("old", range(0, 600, 20), 100), ("new", range(600, 900, 20), 50)]
    for started, times, mb in lives:
        container = Container("id", "worker", "created", started, "healthy")
        memory.samples += [(at, container, mb + at / 10) for at in times]
    held = memory.kinds(early_s=300)["worker"]
    assert held.growth
    assert (held.growth.minutes, held.growth.first_mb, held.growth.last_mb) == (8.7, 106, 158)
    assert (held.early, held.end, held.most) == (130, 138, 158)
    assert memory.kinds(early_s=10_000)["worker"].early == 138, "the nearest, on a busy machine"


async def test_a_caller_insists_with_its_key_and_resumes_a_stream_behind_what_it_has() -> None:
    end = {"reply": "yes", "message_id": "m"}
    answers = [
        httpx2.Response(502, text="<html>"),
        stream('id: 1\nevent: queued\ndata: {"message_id": "m"}\n\n'),
        stream(f"id: 2\nevent: completed\ndata: {json.dumps({'message': end})}\n\n"),
    ]
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return answers[len(seen) - 1]

    asked = Asked(Sent("s", "prompt", key="key"), watched=True)
    transport = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=transport, base_url="http://soak") as http:
        await Caller(http).ask(asked)
    assert [why for _, why in asked.again] == ["502", "the stream ended"]
    assert [one.headers.get("Idempotency-Key") for one in seen] == ["key", "key", None]
    assert seen[2].url.path == "/messages/m/events"
    assert seen[2].headers["Last-Event-ID"] == "1"
    assert asked.sent.answers[-1].body == end
    assert not asked.wrong


def stream(text: str) -> httpx2.Response:
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})
