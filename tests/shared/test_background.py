"""Loops beside the work of a process go on after failures, and end when they are cancelled."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from shared.background import every, running
from shared.database import DatabaseAway

AWAY = DatabaseAway("SELECT 1")


class Work:
    """Work that raises in turn what it is given, and sets an event after the last."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if not self.outcomes:
            self.done.set()
        if outcome:
            raise outcome


@pytest.mark.parametrize(
    ("outcomes", "levels"),
    [
        ([AWAY, AWAY, AWAY], ["info"]),
        ([RuntimeError(), RuntimeError()], ["error"]),
        ([AWAY, RuntimeError(), AWAY], ["info", "error", "info"]),
        ([AWAY, None, AWAY], ["info", "info"]),
        ([None, None], []),
    ],
)
async def test_a_failure_is_logged_once_and_ends_nothing(
    outcomes: list[Exception | None], levels: list[str]
) -> None:
    work = Work(*outcomes, None)
    with capture_logs() as logs:
        async with running(every(0, work, "the work")), asyncio.timeout(10):
            await work.done.wait()
    assert [line["log_level"] for line in logs] == levels
    assert all(line["event"].startswith("the work") for line in logs)


async def test_it_works_at_once_and_again_when_it_is_woken() -> None:
    woken, calls = asyncio.Event(), 0

    async def work() -> None:
        nonlocal calls
        calls += 1

    async with running(every(3600, work, "the work", woken=woken)), asyncio.timeout(10):
        await until(lambda: calls == 1)
        woken.set()
        await until(lambda: calls == 2)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- what is waited for sets no event
        await asyncio.sleep(0)


async def test_a_loop_ends_with_its_context_though_its_work_swallows_a_cancellation() -> None:
    started, swallowed = asyncio.Event(), 0

    async def work() -> None:
        nonlocal swallowed
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            swallowed += 1
            if swallowed > 1:
                raise

    async with running(every(0, work, "the work")):
        await started.wait()
    assert swallowed == 2
