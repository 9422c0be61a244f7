"""PostgreSQL connections for single statements, each of which is a transaction of its own.

A session of SQLAlchemy takes twice as long as the driver and the server for one, its BEGIN and
COMMIT as long again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.statements import Driver, driver_on


class Pool(Protocol):
    """A pool of connections, as far as it is counted."""

    def checkedout(self) -> int:
        """Count the connections in use."""

    def size(self) -> int:
        """Return how many there may be."""


class Singles:
    """Connections of an engine that commits by itself, kept open; the last one used is the next.

    So a few know their statements. When one broke the others go too: they were made before.
    """

    def __init__(self, engine: AsyncEngine, *, most: int) -> None:
        self._engine = engine
        self._most = most
        self._room = asyncio.Semaphore(most)
        self._idle: list[Driver] = []
        self._used = 0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Driver]:
        """Have a connection to oneself."""
        async with self._room:
            driver = self._idle.pop() if self._idle else await self._open()
            self._used += 1
            try:
                yield driver
            finally:
                self._used -= 1
                if driver.is_idle:
                    self._idle.append(driver)
                else:
                    await self._drop(driver)

    def checkedout(self) -> int:
        """Count the connections in use."""
        return self._used

    def size(self) -> int:
        """Return how many there may be."""
        return self._most

    async def close(self) -> None:
        """Close every connection."""
        await self._drop()
        await self._engine.dispose()

    async def _open(self) -> Driver:
        return await driver_on(await self._engine.connect())

    async def _drop(self, *broken: Driver) -> None:
        dropped, self._idle = [*broken, *self._idle], []
        for driver in dropped:
            await driver.close()
