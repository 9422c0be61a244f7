"""Calls of the model are stored while their run goes on, for the case that its worker is killed."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import StatementError
from structlog.testing import capture_logs

from shared.store import records
from shared.tables import ModelCall
from tests.shared.statements import counted
from tests.shared.world import ON_SQLITE, World
from tests.worker.test_attempts import DONE, Attempts, adding


@pytest.fixture
def attempts(world: World, tmp_path: Path) -> Attempts:
    return Attempts(world, tmp_path / "sessions")


async def numbers(world: World) -> list[tuple[int, int]]:
    async with world.database.read() as db:
        rows = await db.execute(select(ModelCall.attempt, ModelCall.n).order_by(ModelCall.n))
        return [(row.attempt, row.n) for row in rows]


def before_the_second_call(step: Any) -> Any:
    turns = 0

    async def meanwhile() -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            await step()

    return meanwhile


async def test_the_calls_of_a_run_are_stored_before_it_ends_and_once(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recorder._EVERY_S", 0.01)
    stored: list[Any] = []

    async def look() -> None:
        writing = asyncio.create_task(attempts.recorder.run())
        async with asyncio.timeout(10):
            while not stored:
                await asyncio.sleep(0.01)
                stored.extend(await numbers(attempts.world))
        writing.cancel()

    script = [[adding("triage")], DONE]
    message = await attempts.run(script, meanwhile=before_the_second_call(look))
    assert stored == [(1, 1)]
    assert message.status == "completed"
    assert await numbers(attempts.world) == [(1, 1), (1, 2)]


async def test_a_call_that_just_ended_is_left_to_the_end_of_its_attempt(
    attempts: Attempts,
) -> None:
    sent: list[str] = []

    async def store() -> None:
        with counted() as statements:
            await attempts.recorder.store_calls()
        sent.extend(statements)

    await attempts.run([[adding("triage")], DONE], meanwhile=before_the_second_call(store))
    assert sent == []
    with counted() as statements:
        await attempts.recorder.store_calls()
    assert statements == [], "what has ended is forgotten"


@ON_SQLITE
@pytest.mark.parametrize(
    ("error", "tries", "told"),
    [
        pytest.param(None, 1, 0, id="stored"),
        pytest.param(OSError(), 2, 0, id="away"),
        pytest.param(StatementError("", "", None, None), 1, 1, id="refused"),
    ],
)
async def test_what_is_stored_or_refused_is_not_tried_again(
    attempts: Attempts,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    tries: int,
    told: int,
) -> None:
    monkeypatch.setattr("worker.recorder._EVERY_S", 0)
    record, tried = records.record_calls, 0

    async def noted(*arguments: Any) -> None:
        nonlocal tried
        tried += 1
        if error:
            raise error
        await record(*arguments)

    async def store_twice() -> None:
        monkeypatch.setattr(records, "record_calls", noted)
        for _ in range(2):
            with suppress(OSError):
                await attempts.recorder.store_calls()
        monkeypatch.setattr(records, "record_calls", record)

    script = [[adding("triage")], DONE]
    with capture_logs() as logs:
        message = await attempts.run(script, meanwhile=before_the_second_call(store_twice))
    late = [line for line in logs if "calls of the model" in line["event"]]
    assert (tried, len(late)) == (tries, told)
    assert message.status == "completed"
    assert len(await numbers(attempts.world)) == 2
