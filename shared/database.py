"""The database as one event loop sees it: one pool of connections, and transactions on them."""

import asyncio
import functools
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from shared.dialects import Dialect, dialect_of
from shared.logging import get_logger
from shared.settings import Settings
from shared.statements import Driver, driver_of

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_DELAYS_S = (0.02, 0.1, 0.4)
_AWAY_S = 0.3
_IDLE_S = 60.0
_WAIT_S = 15.0  # `retried` waits four times
_log = get_logger(__name__)


class DatabaseAway(Exception):
    """The database cannot be reached or refuses for the moment; nothing was changed."""


class CommitUnknown(DatabaseAway):
    """The connection broke during COMMIT: it may have happened or not."""


class Pool:
    """Connections of a process, at most so many; those that were idle for a minute are closed.

    The connection that was used last is taken next, so that a few know their statements. When one
    breaks the idle ones are closed too: they are older.
    """

    def __init__(self, engine: AsyncEngine, dialect: Dialect, *, most: int) -> None:
        self._engine = engine
        self._dialect = dialect
        self.most = most
        self._free = asyncio.Semaphore(most)
        self._idle: deque[Driver] = deque()
        self._used = 0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Driver]:
        """Take a connection that nobody else uses.

        Raises:
            DatabaseAway: all were in use for a quarter of a minute.
        """
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise DatabaseAway("every connection of this process is in use") from None
        self._used += 1
        try:
            driver = self._idle.pop() if self._idle else await self._open()
            try:
                yield driver
            except BaseException:
                # whatever it says of itself: SQLite's thread may still begin what was cancelled
                with suppress(Exception):
                    await asyncio.shield(driver.roll_back())
                raise
            finally:
                await self._give_back(driver)
        finally:
            self._used -= 1
            self._free.release()

    def in_use(self) -> int:
        """Count the connections in use."""
        return self._used

    async def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            await self._idle.pop().close()
        await self._engine.dispose()

    async def _open(self) -> Driver:
        return await driver_of(await self._engine.connect(), self._dialect)

    async def _give_back(self, driver: Driver) -> None:
        if not driver.is_idle:
            await driver.close()
            while self._idle:
                await self._idle.pop().close()
            return
        driver.used_at = time.monotonic()
        self._idle.append(driver)
        # each close gives others a turn: they may have taken all of them meanwhile
        while self._idle and self._idle[0].used_at < driver.used_at - _IDLE_S:
            await self._idle.popleft().close()


class Database:
    """Open transactions for one event loop; connections must not be shared between two.

    A session runs statements of SQLAlchemy and `CompiledStatement`s in the same transaction. Every
    way to one raises `DatabaseAway` for an error that passes.
    """

    def __init__(self, settings: Settings, *, name: str) -> None:
        self._dialect = dialect_of(settings)
        engine = self._dialect.async_engine(settings, name=name)
        most = self._dialect.most_connections(settings)
        self.pool = Pool(engine, self._dialect, most=most)
        self._writers = asyncio.Semaphore(self._dialect.most_writers(settings))

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """Open a writing transaction; commit at the end, roll back on any exception.

        Raises:
            CommitUnknown: the connection was lost during the commit itself.
        """
        async with self._writers, self._session(self._dialect.begin_write) as db:
            yield db

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a reading session; each statement sees the latest commits."""
        async with self._session() as db:
            yield db

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Open a reading transaction in which all statements see the same state."""
        async with self._session(self._dialect.begin_snapshot) as db:
            yield db

    async def write(
        self,
        verb: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a verb of the store as one transaction, again after an error that passes.

        Raises:
            CommitUnknown: the commit may have happened; it is never repeated.
            DatabaseAway: it did not pass soon.
        """

        @retried
        async def once() -> T:
            async with self.begin() as db:
                return await verb(db, *args, **kwargs)

        return await once()

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()

    @asynccontextmanager
    async def _session(self, begin: str | None = None) -> AsyncIterator[AsyncSession]:
        try:
            async with self.pool.take() as driver:
                db = AsyncSession(driver.connection, expire_on_commit=False, autoflush=False)
                db.info["driver"] = driver
                try:
                    if begin:
                        await driver.begin(begin)
                    yield db
                    if begin:
                        await _commit(db, driver)
                finally:
                    if db.in_transaction():
                        await db.close()
        except DBAPIError as error:
            if not self._dialect.will_pass(error):
                raise
            raise DatabaseAway(type(error.orig).__name__) from error


async def _commit(db: AsyncSession, driver: Driver) -> None:
    """Commit, snapshots too: psycopg forgets its prepared statements at each ROLLBACK."""
    try:
        # a session that SQLAlchemy used has objects to flush
        await (db.commit() if db.in_transaction() else driver.commit())
    except DBAPIError as error:
        if error.connection_invalidated:
            raise CommitUnknown(type(error.orig).__name__) from error
        raise


def retried(step: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Run a step (one transaction, nothing else) again after an error that passes.

    A deadlock, a serialization failure, a locked SQLite file, a connection that was not made or
    broke before the commit: they leave nothing behind. A commit whose outcome is unknown is never
    repeated.
    """

    @functools.wraps(step)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for delay in _RETRY_DELAYS_S:
            try:
                return await step(*args, **kwargs)
            except CommitUnknown:
                raise
            except DatabaseAway:
                await asyncio.sleep(delay)
        return await step(*args, **kwargs)

    return run


async def until_done(step: Callable[[], Awaitable[T]], *, limit_s: float = math.inf) -> T:
    """Run a step again and again while the database is away, for at most so long.

    Also after a commit whose outcome is unknown: only for steps that may be repeated then, since
    they read, or since a fence stands before what they write.
    """
    deadline = time.monotonic() + limit_s
    logged = False
    while True:
        try:
            return await step()
        except DatabaseAway as error:
            if time.monotonic() > deadline:
                raise
            if not logged:
                _log.info("the database is away, trying on", error=str(error))
            logged = True
        await asyncio.sleep(_AWAY_S)
