"""The database as one event loop sees it: transactions, the clock, and which errors pass."""

import asyncio
import functools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar, cast

from sqlalchemy import Double
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from shared.engines import postgresql_engine, sqlite_engine
from shared.logging import get_logger
from shared.settings import Settings
from shared.singles import Pool, Singles
from shared.statements import Db

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_DELAYS_S = (0.02, 0.1, 0.4)
_AWAY_S = 0.3
_DEADLOCK_OR_SERIALIZATION = {"40P01", "40001"}
_log = get_logger(__name__)


class clock(FunctionElement[float]):  # noqa: N801 -- an SQL function, named like one
    """Give the database's time in seconds since 1970, also in the middle of a transaction."""

    type = Double()
    inherit_cache = True


@compiles(clock, "postgresql")
def _clock_postgresql(*_: Any, **__: Any) -> str:
    # now() is when the transaction began: stale after a wait for a lock
    return "extract(epoch from clock_timestamp())::float8"


@compiles(clock, "sqlite")
def _clock_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def insert_new(table: Any, dialect: str) -> Any:
    """Begin an INSERT that leaves alone what is there already, by whichever unique key."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()


class CommitUnknownError(Exception):
    """The connection broke during COMMIT: it may have happened or not."""


class Database:
    """Open transactions for one event loop; an engine must not be shared between two.

    On SQLite one connection writes, so that writers of a loop queue here instead of in the
    file's busy handler, and a few others read.
    """

    def __init__(self, settings: Settings, *, name: str) -> None:
        self.dialect = settings.dialect
        self._singles: Singles | None
        if self.dialect == "sqlite":
            self._writer = sqlite_engine(settings, begin="BEGIN IMMEDIATE", pool_size=1)
            self._reader = sqlite_engine(settings, begin="BEGIN", pool_size=4)
            self._snapshot = self._reader
            self._singles = None
        else:
            self._writer = postgresql_engine(settings, name=name)
            # of its own: to change a connection's isolation and back takes as long as a statement
            self._reader = postgresql_engine(settings, name=name, isolation_level="AUTOCOMMIT")
            self._snapshot = self._writer.execution_options(isolation_level="REPEATABLE READ")
            single = postgresql_engine(settings, name=name, isolation_level="AUTOCOMMIT")
            self._singles = Singles(single, most=settings.database_pool)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """Open a writing transaction; commit at the end, roll back on any exception.

        Raises:
            CommitUnknownError: the connection was lost during the commit itself.
        """
        async with _session(self._writer) as db:
            yield db
            try:
                await db.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise CommitUnknownError from error
                raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a reading session; each statement sees the latest commits."""
        async with _session(self._reader) as db:
            yield db

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Open a reading transaction in which all statements see the same state."""
        async with _session(self._snapshot) as db:
            yield db
            await db.commit()  # psycopg forgets its prepared statements at each ROLLBACK

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Db]:
        """Open what runs one statement, a transaction of its own; on SQLite one that reads.

        Raises:
            CommitUnknownError: the connection was lost; it may have happened or not.
        """
        if self._singles is None:
            async with self.read() as db:
                yield db
            return
        async with self._singles.take() as driver:
            try:
                yield driver
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise CommitUnknownError from error
                raise

    def pools(self) -> dict[str, Pool]:
        """Return the pools of connections by what they are for."""
        engines = {"transactions": self._writer, "reads": self._reader}
        pools = {name: cast("Pool", engine.pool) for name, engine in engines.items()}
        return pools | ({"single": self._singles} if self._singles else {})

    async def close(self) -> None:
        """Close every connection."""
        if self._singles:
            await self._singles.close()
        for engine in {self._writer, self._reader}:
            await engine.dispose()


def _session(engine: AsyncEngine) -> AsyncSession:
    return AsyncSession(engine, expire_on_commit=False, autoflush=False)


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
            except DBAPIError as error:
                if not will_pass(error):
                    raise
            await asyncio.sleep(delay)
        return await step(*args, **kwargs)

    return run


async def until_done(step: Callable[[], Awaitable[T]], *, limit_s: float = math.inf) -> T:
    """Run a step again and again while the database is away or locked, for at most so long.

    Also after a commit whose outcome is unknown: only for steps that may be repeated then, since
    they read, or since a fence stands before what they write.
    """
    deadline = time.monotonic() + limit_s
    told = False
    while True:
        try:
            return await step()
        except (DBAPIError, CommitUnknownError) as error:
            if not will_pass(error) or time.monotonic() > deadline:
                raise
            if not told:
                _log.info("the database is away, trying on", error=type(error).__name__)
            told = True
        await asyncio.sleep(_AWAY_S)


def will_pass(error: DBAPIError | CommitUnknownError) -> bool:
    """Tell whether an error is the moment's, not the statement's: the same may succeed later."""
    if isinstance(error, CommitUnknownError) or error.connection_invalidated:
        return True
    # PostgreSQL gives its errors a state, but for those of a connection that was never made
    sqlstate = getattr(error.orig, "sqlstate", "")
    unreached = isinstance(error, OperationalError) and sqlstate is None
    locked = "database is locked" in str(error.orig)
    return unreached or locked or sqlstate in _DEADLOCK_OR_SERIALIZATION
