"""How a process stops what runs beside its work."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 1.0


async def cancel_all(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks until all have ended, however they end.

    Once may not do: redis-py swallows a cancellation that comes while it connects. But not at once
    again: a second one would break the ROLLBACK that the first has caused.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
