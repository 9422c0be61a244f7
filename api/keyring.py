"""The API keys as of a few seconds ago: to check one costs a request no statement."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence

from shared.store.keys import KnownKey, read_key

KEPT_S = 5.0
"""For so long a process goes by what it read: a revoked key is good for no longer."""

_PAUSE_S = 0.2


class Keyring:
    """All keys, read anew every few seconds, by one statement for all who ask meanwhile."""

    def __init__(self, read: Callable[[], Awaitable[Sequence[KnownKey]]]) -> None:
        self._read = read
        self._keys: dict[str, KnownKey] = {}
        self._any_ever = False
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, text: str) -> KnownKey | None:
        """Return the valid key that a client shows; None: it is none, or none any more.

        A key that is not known may have been made a moment ago: the answer waits for a reading
        that begins after the question. Those are so far apart that guessing costs nothing.
        """
        presented = read_key(text)
        if presented is None:
            return None
        asked = time.monotonic()
        await self._refresh(asked - KEPT_S)
        if presented.key_id not in self._keys:
            await self._refresh(asked)
        known = self._keys.get(presented.key_id)
        same = hmac.compare_digest(known.hash if known else "", presented.hash)
        return known if known and same and known.valid else None

    async def any_ever(self) -> bool:
        """Tell whether a key was ever made, be it expired or revoked since."""
        await self._refresh(time.monotonic() - KEPT_S)
        return self._any_ever

    async def _refresh(self, since: float) -> None:
        """See to it that what is known was read after a moment."""
        while self._read_at < since:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._load())
                self._reading.add_done_callback(_retrieve)
            # who leaves must not break off what others wait for; a failure is everybody's
            await asyncio.shield(self._reading)

    async def _load(self) -> None:
        await asyncio.sleep(self._read_at + _PAUSE_S - time.monotonic())
        began = time.monotonic()
        found = await self._read()
        self._keys = {key.id: key for key in found}
        self._any_ever = bool(found)
        self._read_at = began


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
