"""The loops that a process runs beside its requests or tasks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from shared.database import DatabaseAway
from shared.logging import get_logger

AWAY = (DatabaseAway, OSError)
"""The errors of a database or a broker that does not answer."""

_CANCEL_AGAIN_S = 1.0
_log = get_logger(__name__)


async def every(
    seconds: float,
    work: Callable[[], Awaitable[object]],
    name: str,
    *,
    woken: asyncio.Event | None = None,
) -> None:
    """Do a piece of work at once and then every so many seconds, until cancelled.

    A set `woken` ends the pause early. A failure is logged once, until the work succeeds or fails
    in another way, and never ends the loop.
    """
    woken = woken or asyncio.Event()
    failure: type[Exception] | None = None
    while True:
        woken.clear()
        try:
            await work()
        except AWAY as error:
            if type(error) is not failure:
                _log.info(f"{name}: the database is away, trying on", error=type(error).__name__)
            failure = type(error)
        except Exception as error:  # noqa: BLE001 -- a loop that ended would be missed too late
            if type(error) is not failure:
                _log.exception(f"{name} failed, trying on")
            failure = type(error)
        else:
            failure = None
        with suppress(TimeoutError):  # not wait_for: before Python 3.12 it may lose a cancel
            async with asyncio.timeout(seconds):
                await woken.wait()


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a loop while the context is open."""
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        await cancel_all([task])


async def cancel_all(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks until all have ended, however they end.

    Once may not do: redis-py swallows a cancellation that comes while it connects. But not at once
    again: a second one would break the ROLLBACK that the first has caused.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
