"""The way in for new messages: so many at once reach the database, so many more may wait.

Without it a burst takes every connection for transactions: a cancel, or the end of what is overdue,
would stand behind thousands who want to be accepted.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import ServiceQueueFull

_LONGEST_S = 60
_REMEMBERED = 200


class Gate:
    """Let `width` pass at once and `most_waiting` wait; the others are told when to come back."""

    def __init__(self, *, width: int, most_waiting: int) -> None:
        self._free = asyncio.Semaphore(width)
        self._most_waiting = most_waiting
        self._here = 0
        self._passed: deque[float] = deque([time.monotonic()], maxlen=_REMEMBERED)

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait for a turn.

        Raises:
            ServiceQueueFull: too many wait already.
        """
        if self._here >= self._most_waiting:
            seconds = self._retry_after()
            raise ServiceQueueFull(
                f"{self._here} requests wait here to be accepted. Try again in {seconds} s.",
                retry_after=seconds,
            )
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1
            self._passed.append(time.monotonic())

    def _retry_after(self) -> int:
        """Estimate when those who wait now are through, by how fast the last ones were."""
        a_pass = (time.monotonic() - self._passed[0]) / len(self._passed)
        return min(max(math.ceil(self._here * a_pass), 1), _LONGEST_S)
