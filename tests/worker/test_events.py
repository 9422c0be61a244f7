"""What runs report is told to who watches, and costs those nothing whom nobody watches."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from agents.testing import assistant_message
from sqlalchemy import update

from shared.database import Database
from shared.store import events
from shared.store.events import EventRecord
from shared.tables import Event, Message
from tests.shared.world import World
from tests.worker.test_attempts import DONE, Attempts, adding
from worker.listener import SignalListener
from worker.recorder import Recorder, pause_s


class Heard:
    """A channel that notes what is published."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    async def publish(self, _topic: object, ids: Any) -> None:
        self.ids += ids


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def attempts(world: World, tmp_path: Path, heard: Heard) -> Attempts:
    attempts = Attempts(world, tmp_path / "sessions")
    attempts.recorder = Recorder(world.database, heard)  # type: ignore[arg-type]
    return attempts


async def told(world: World, message: Message) -> list[EventRecord]:
    async with world.database.read() as db:
        (page,) = await events.pages(db, [(message.id, 0)], limit=100)
    assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))
    return list(page.events)


def kinds(found: list[EventRecord]) -> list[str]:
    return [str(event.kind) for event in found]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- what is waited for sets no event
            await asyncio.sleep(0.02)


async def watch_all(world: World) -> None:
    """Let every message count as watched when it is claimed."""
    async with world.database.begin() as db:
        await db.execute(update(Message).values(streamed=True))


async def watched(attempts: Attempts, script: list[Any]) -> Message:
    """Answer a message that somebody watches from the beginning."""
    accept = attempts.world.accept

    async def accept_watched(*args: Any, **kwargs: Any) -> Any:
        accepted = await accept(*args, **kwargs)
        await watch_all(attempts.world)
        return accepted

    attempts.world.accept = accept_watched  # type: ignore[method-assign]
    return await attempts.run(script)


async def test_a_run_that_nobody_watches_stores_no_event(attempts: Attempts, heard: Heard) -> None:
    message = await attempts.run([[adding("triage")], DONE])
    assert kinds(await told(attempts.world, message)) == ["queued", "claimed", "completed"]
    assert await attempts.world.count(Event) == 0
    assert heard.ids == []


async def test_a_watched_run_tells_text_tools_and_code(attempts: Attempts) -> None:
    first = [assistant_message("Let me see."), adding("triage")]
    message = await watched(attempts, [first, DONE])
    found = await told(attempts.world, message)
    assert kinds(found) == [
        "queued",
        "claimed",
        "text",
        "tool_called",
        "tool_answered",
        "code_changed",
        "text",
        "completed",
    ]
    _, _, text, called, answered, changed, done, _ = (event.data for event in found)
    assert text == {"call": 1, "text": "Let me see."}
    assert (called["name"], called["call_id"]) == ("apply_patch", "1")
    assert "triage" in called["arguments"]
    assert answered["output"].startswith("The patch is applied.")
    assert changed["diff"] == message.diff
    assert done == {"call": 2, "text": "done"}


async def test_a_failed_run_keeps_what_it_told(attempts: Attempts) -> None:
    message = await watched(attempts, [[adding("triage")], RuntimeError("boom")])
    assert kinds(await told(attempts.world, message))[-2:] == ["code_changed", "failed"]


async def test_who_begins_to_watch_in_the_middle_is_told_from_the_start_of_the_attempt(
    attempts: Attempts, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recorder.pause_s", lambda messages: 60 * messages)
    writing = asyncio.create_task(attempts.recorder.run())
    turn = 0
    seen: list[str] = []

    async def look() -> None:
        nonlocal turn
        turn += 1
        if turn == 2:
            (key,) = attempts.runs.keys()
            attempts.recorder.watch([key[0]])
            await until(lambda: heard.ids != [])
            seen.extend(kinds(await told(attempts.world, await attempts.world.message(key[0]))))

    message = await attempts.run([[adding("triage")], DONE], meanwhile=look)
    writing.cancel()
    assert seen == ["queued", "claimed", "tool_called", "tool_answered", "code_changed"]
    assert kinds(await told(attempts.world, message))[-2:] == ["text", "completed"]
    assert heard.ids == [message.id]


async def test_who_watches_before_the_run_is_known_is_not_forgotten(attempts: Attempts) -> None:
    session = await attempts.world.session()
    accepted = (await attempts.world.accept(session)).message
    attempts.recorder.watch([accepted.id])
    claim = await attempts.world.claim(accepted)
    assert attempts.recorder.begin(claim).events.streamed


async def test_what_comes_after_a_pause_is_told_at_once_and_what_follows_in_a_while(
    attempts: Attempts, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recorder.pause_s", lambda messages: 60 * messages)
    writing = asyncio.create_task(attempts.recorder.run())
    message = (await attempts.world.accept(await attempts.world.session())).message
    run = attempts.recorder.begin(await attempts.world.claim(message)).events
    run.watch()
    run.wrote("one", call=1)
    await until(lambda: heard.ids != [])
    run.wrote("two", call=1)
    await asyncio.sleep(0.1)
    writing.cancel()
    assert kinds(await told(attempts.world, message)) == ["queued", "claimed", "text"]
    assert heard.ids == [message.id]


def test_one_or_two_readers_are_told_every_tenth_of_a_second_and_many_less_often() -> None:
    pauses = [pause_s(messages) for messages in (0, 1, 2, 5, 10, 1000)]
    assert pauses == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.4, 0.4])


async def test_a_database_that_is_away_delays_events_and_doubles_none(
    attempts: Attempts, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = events.append, ["before", "after"]

    async def break_it(db: Any, batches: Any) -> None:
        how = failures.pop(0) if failures else ""
        if how == "before":
            raise OSError(how)
        await append(db, batches)
        if how == "after":
            await db.info["driver"].commit()
            raise OSError(how)

    monkeypatch.setattr(events, "append", break_it)
    writing = asyncio.create_task(attempts.recorder.run())

    session = await attempts.world.session()
    accept = attempts.world.accept
    message = (await accept(session)).message
    claim = await attempts.world.claim(message)
    run = attempts.recorder.begin(claim).events
    run.watch()
    run.wrote("one", call=1)
    await until(lambda: heard.ids != [] and not failures)
    run.wrote("two", call=1)
    await until(lambda: run.batch() is None)
    writing.cancel()
    texts = [event.data.get("text") for event in await told(attempts.world, message)]
    assert texts == [None, None, "one", "two"]


async def test_a_worker_stops_what_it_hears_to_have_ended(
    attempts: Attempts, database: Database
) -> None:
    class Channel:
        async def listen(self, *topics: Any) -> Any:
            stopped, watched = topics
            (key,) = attempts.runs.keys()
            yield watched, []
            yield stopped, []
            await attempts.world.cancel(key[0])
            yield stopped, [key[0]]

    listener = SignalListener(
        database,
        Channel(),  # type: ignore[arg-type]
        attempts.runs,
        attempts.recorder,
        worker_id=await attempts.world.worker(),
    )

    async def hang() -> None:
        await listener.listen()
        await asyncio.sleep(20)

    message = await asyncio.wait_for(attempts.run([DONE], meanwhile=hang), 10)
    assert message.status == "cancelled"
    assert await attempts.world.attempts(message.id) == ["cancelled"]
