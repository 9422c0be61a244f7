"""Everything that differs between SQLite and PostgreSQL; no other module asks which one it is.

SQL that differs is a construct that compiles to either. What differs in the use of a driver is a
method of `Dialect`.
"""

import asyncio
import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import (
    URL,
    Boolean,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Integer,
    String,
    TypeDecorator,
    Uuid,
    bindparam,
    create_engine,
    event,
    make_url,
)
from sqlalchemy import Dialect as SQLDialect
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as insert_or_not
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine
from sqlalchemy.util.concurrency import await_only, in_greenlet
from typing_extensions import override

from shared.settings import Settings

_SILENT_S = 15
_SQLITE_CONNECTIONS = 5
_TRIED_POSTGRESQL = 15


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


class new_uuid(FunctionElement[UUID]):  # noqa: N801 -- an SQL function, named like one
    """Make a random id in the database, another one for each row."""

    type = Uuid()
    inherit_cache = True


@compiles(new_uuid, "postgresql")
def _new_uuid_postgresql(*_: Any, **__: Any) -> str:
    return "gen_random_uuid()"


@compiles(new_uuid, "sqlite")
def _new_uuid_sqlite(*_: Any, **__: Any) -> str:
    return "lower(hex(randomblob(16)))"


class _Uuids(TypeDecorator[Sequence[UUID]]):
    """Many ids as one parameter: thousands of parameters take longer to read than rows to find."""

    impl = String
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: SQLDialect) -> TypeEngine[Any]:
        return ARRAY(Uuid()) if dialect.name == "postgresql" else String()

    @override
    def process_bind_param(self, value: Sequence[UUID] | None, dialect: SQLDialect) -> Any:
        if dialect.name == "postgresql":
            return list(value or ())
        return json.dumps([of.hex for of in value or ()])  # as SQLAlchemy stores them


class any_of(FunctionElement[bool]):  # noqa: N801 -- SQL, named like it
    """Say in SQL that an id is one of those in the parameter of that name."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, of: ColumnElement[UUID] | Any, name: str) -> None:
        super().__init__(of, bindparam(name, type_=_Uuids()))


@compiles(any_of, "postgresql")
def _any_of_postgresql(element: any_of, compiler: Any, **options: Any) -> str:
    of, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{of} = ANY ({ids})"


@compiles(any_of, "sqlite")
def _any_of_sqlite(element: any_of, compiler: Any, **options: Any) -> str:
    of, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{of} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 -- compiled clauses


class try_lead(FunctionElement[bool]):  # noqa: N801 -- an SQL function, named like one
    """Try to be the only one of a number until the commit; SQLite's write lock is that already."""

    type = Boolean()
    inherit_cache = True


@compiles(try_lead, "postgresql")
def _try_lead_postgresql(element: try_lead, compiler: Any, **options: Any) -> str:
    return f"pg_try_advisory_xact_lock({compiler.process(element.clauses, **options)})"


@compiles(try_lead, "sqlite")
def _try_lead_sqlite(*_: Any, **__: Any) -> str:
    return "1"


class most_connections(FunctionElement[int]):  # noqa: N801 -- an SQL function, named like one
    """Give how many connections the server takes; NULL: there is no server."""

    type = Integer()
    inherit_cache = True


@compiles(most_connections, "postgresql")
def _most_connections_postgresql(*_: Any, **__: Any) -> str:
    return "current_setting('max_connections')::int"


@compiles(most_connections, "sqlite")
def _most_connections_sqlite(*_: Any, **__: Any) -> str:
    return "NULL"


def insert_new(table: Any) -> Any:
    """Begin an INSERT that skips rows whose key, any unique one, exists already."""
    return insert_or_not(table).on_conflict_do_nothing()  # SQLite's words are the same


class Dialect(ABC):
    """A kind of database: how to connect to it, and how its driver is used."""

    begin_write: str
    """Opens a transaction that writes."""
    begin_snapshot: str
    """Opens a transaction whose statements all see the same state."""
    gives_python_types: bool
    """The driver does; else SQLAlchemy's types make them of what it gives."""

    @abstractmethod
    def url(self, settings: Settings, *, driver: str = "") -> URL:
        """Return the database's URL for SQLAlchemy."""

    @abstractmethod
    def async_engine(self, settings: Settings, *, name: str) -> AsyncEngine:
        """Make an engine without a pool, whose connections begin no transaction by themselves."""

    @abstractmethod
    def sync_engine(self, settings: Settings, *, name: str) -> Engine:
        """Make an engine of one connection for a thread without an event loop."""

    @abstractmethod
    def most_connections(self, settings: Settings) -> int:
        """Return how many connections a process may have."""

    @abstractmethod
    def most_writers(self, settings: Settings) -> int:
        """Return how many of them may write at the same time."""

    @abstractmethod
    async def fetch(self, raw: Any, sql: str, values: Any, *, answers: bool) -> Sequence[Any]:
        """Run a statement on the driver's connection; return its rows, if it `answers` any."""

    @abstractmethod
    def is_idle(self, raw: Any) -> bool:
        """Tell whether the driver's connection is open and in no transaction."""

    @abstractmethod
    def will_pass(self, error: DBAPIError) -> bool:
        """Tell whether an error is the moment's: the same statement may succeed later."""

    @abstractmethod
    def is_missing(self, settings: Settings) -> bool:
        """Tell whether there is no database yet, and the first start makes one."""

    @abstractmethod
    def advice(self, db: Connection) -> str:
        """Say what to do about the server's version, if anything."""


class Sqlite(Dialect):
    """A SQLite file. One connection of a process writes, others read meanwhile."""

    begin_write = "BEGIN IMMEDIATE"
    begin_snapshot = "BEGIN"
    gives_python_types = False

    @override
    def url(self, settings: Settings, *, driver: str = "") -> URL:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return make_url(f"sqlite{driver}:///{settings.database_location}")

    @override
    def async_engine(self, settings: Settings, *, name: str) -> AsyncEngine:
        url = self.url(settings, driver="+aiosqlite")
        engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
        self._configure(engine.sync_engine, settings)

        @event.listens_for(engine.sync_engine, "invalidate")
        def roll_back(connection: Any, _record: Any, _error: Any) -> None:
            # a cursor that a cancelled task still holds would keep the file locked after the close
            if in_greenlet():
                with suppress(asyncio.CancelledError, ValueError, sqlite3.Error):  # or it is gone
                    await_only(asyncio.shield(connection.driver_connection.rollback()))

        return engine

    @override
    def sync_engine(self, settings: Settings, *, name: str) -> Engine:
        engine = create_engine(
            self.url(settings), pool_size=1, max_overflow=0, hide_parameters=True
        )
        self._configure(engine, settings)

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql(self.begin_write)

        return engine

    def _configure(self, engine: Engine, settings: Settings) -> None:
        # a writer must not wait so long for the file that its worker's lease ends meanwhile
        busy_ms = int(settings.lease_s * 1000 / 4)

        @event.listens_for(engine, "connect")
        def connect(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # the driver's own BEGIN is deferred: it deadlocks
            cursor = connection.cursor()
            for pragma in (
                f"busy_timeout={busy_ms}",
                "journal_mode=WAL",
                "synchronous=NORMAL",
                "foreign_keys=ON",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    @override
    def most_connections(self, settings: Settings) -> int:
        return _SQLITE_CONNECTIONS

    @override
    def most_writers(self, settings: Settings) -> int:
        return 1  # so that writers wait here, in their order, and not for the file, in none

    @override
    async def fetch(self, raw: Any, sql: str, values: Any, *, answers: bool) -> Sequence[Any]:
        rows: Sequence[Any] = await raw.execute_fetchall(sql, values)
        return rows

    @override
    def is_idle(self, raw: Any) -> bool:
        try:
            return not raw.in_transaction
        except ValueError:  # it is closed
            return False

    @override
    def will_pass(self, error: DBAPIError) -> bool:
        return any(words in str(error.orig) for words in ("database is locked", "disk is full"))

    @override
    def is_missing(self, settings: Settings) -> bool:
        return not Path(settings.database_location).exists()

    @override
    def advice(self, db: Connection) -> str:
        return ""


class Postgresql(Dialect):
    """A PostgreSQL server. Connections commit each statement, unless a transaction was opened."""

    begin_write = "BEGIN"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    gives_python_types = True
    _PASSING = ("08", "40001", "40P01", "53", "57", "55P03", "25006", "25P03")
    """States: connections, deadlocks, no room, shutdown, timeouts, a standby that only reads."""

    @override
    def url(self, settings: Settings, *, driver: str = "") -> URL:
        return make_url(f"postgresql+psycopg://{settings.database_location}")

    @override
    def async_engine(self, settings: Settings, *, name: str) -> AsyncEngine:
        url = self.url(settings)
        engine = create_async_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,  # they are prompts and replies; errors are logged
            connect_args=_arguments(url, settings, name) | {"autocommit": True},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, _record: Any) -> None:
            # by itself psycopg types a number by its size: a statement for each mixture of sizes
            big = import_module("psycopg.types.numeric").Int8BinaryDumper
            connection.driver_connection.adapters.register_dumper(int, big)

        return engine

    @override
    def sync_engine(self, settings: Settings, *, name: str) -> Engine:
        url = self.url(settings)
        return create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            hide_parameters=True,
            connect_args=_arguments(url, settings, name),
        )

    @override
    def most_connections(self, settings: Settings) -> int:
        return settings.database_pool

    @override
    def most_writers(self, settings: Settings) -> int:
        return settings.database_pool

    @override
    async def fetch(self, raw: Any, sql: str, values: Any, *, answers: bool) -> Sequence[Any]:
        cursor = await raw.execute(sql, values, prepare=True)
        rows: Sequence[Any] = await cursor.fetchall() if answers else ()
        return rows

    @override
    def is_idle(self, raw: Any) -> bool:
        return not raw.closed and raw.info.transaction_status == 0

    @override
    def will_pass(self, error: DBAPIError) -> bool:
        state = getattr(error.orig, "sqlstate", None)
        if state is None:  # the server said nothing: it was not reached
            return error.connection_invalidated or isinstance(error, OperationalError)
        return error.connection_invalidated or state.startswith(self._PASSING)

    @override
    def is_missing(self, settings: Settings) -> bool:
        return False

    @override
    def advice(self, db: Connection) -> str:
        old = (db.dialect.server_version_info or ()) < (_TRIED_POSTGRESQL,)
        return f"use PostgreSQL {_TRIED_POSTGRESQL} or newer" if old else ""


def _arguments(url: URL, settings: Settings, name: str) -> dict[str, Any]:
    """Return what libpq is given beside the URL, which has the last word."""
    options = (
        "-c timezone=UTC"
        # nor may a process that froze, or its host that vanished, hold locks for others
        f" -c idle_in_transaction_session_timeout={_SILENT_S}s"
        " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    )
    arguments: dict[str, Any] = {
        "application_name": f"{settings.namespace}-{name}",
        "connect_timeout": 5,
        # a host that vanished must not hold a worker for the kernel's two hours
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    ours = {key: value for key, value in arguments.items() if key not in url.query}
    return ours | {"options": f"{options} {url.query.get('options', '')}".strip()}


_DIALECTS: dict[str, Dialect] = {"sqlite": Sqlite(), "postgresql": Postgresql()}


def dialect_of(settings: Settings) -> Dialect:
    """Return the dialect of the settings' database."""
    return _DIALECTS[settings.dialect]


def sync_engine(settings: Settings, *, name: str) -> Engine:
    """Make an engine of one connection for a thread without an event loop."""
    return dialect_of(settings).sync_engine(settings, name=name)
