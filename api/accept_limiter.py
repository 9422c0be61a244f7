"""The limit of messages that one process accepts at once.

Without it a burst of POSTs takes every connection of the pool: a cancel, or the end of an overdue
message, would wait behind thousands of them.
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


class AcceptLimiter:
    """Let `width` requests run and `most_waiting` requests wait; refuse others with Retry-After."""

    def __init__(self, *, width: int, most_waiting: int) -> None:
        self._free = asyncio.Semaphore(width)
        self._most_waiting = most_waiting
        self._here = 0
        self._passed: deque[float] = deque([time.monotonic()], maxlen=_REMEMBERED)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        Raises:
            ServiceQueueFull: too many requests wait already.
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
        """Estimate when the requests that wait now are done, from the pace of the last ones."""
        a_pass = (time.monotonic() - self._passed[0]) / len(self._passed)
        return min(max(math.ceil(self._here * a_pass), 1), _LONGEST_S)
