"""The engines: pools of connections to SQLite or PostgreSQL, and how each connection is set."""

import asyncio
import sqlite3
from contextlib import suppress
from importlib import import_module
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util.concurrency import await_only, in_greenlet

from shared.settings import Settings

_SILENT_S = 15


def database_url(settings: Settings, *, driver: str) -> URL:
    """Return the URL with its driver; a SQLite file's folder is made."""
    if settings.dialect == "sqlite":
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return make_url(f"sqlite{driver}:///{settings.database_location}")
    return make_url(f"postgresql+psycopg://{settings.database_location}")


def sync_engine(settings: Settings, *, name: str) -> Engine:
    """Make an engine of one connection for a thread without an event loop."""
    url = database_url(settings, driver="")
    if settings.dialect == "sqlite":
        engine = create_engine(url, pool_size=1, max_overflow=0, hide_parameters=True)
        _configure_sqlite(engine, settings, begin="BEGIN IMMEDIATE")
        return engine
    return create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args=_postgresql_arguments(settings, name),
    )


def sqlite_engine(settings: Settings, *, begin: str, pool_size: int) -> AsyncEngine:
    """Make an engine whose transactions begin with this statement."""
    url = database_url(settings, driver="+aiosqlite")
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        hide_parameters=True,
        # a session ends its transaction itself; one more ROLLBACK, cancelled, would be an error
        pool_reset_on_return=None,
    )
    _configure_sqlite(engine.sync_engine, settings, begin=begin)

    @event.listens_for(engine.sync_engine, "invalidate")
    def roll_back(connection: Any, _record: Any, _error: Any) -> None:
        # a cursor that a cancelled task still holds would keep the file locked after the close
        if in_greenlet():
            with suppress(asyncio.CancelledError, ValueError, sqlite3.Error):  # or it is gone
                await_only(asyncio.shield(connection.driver_connection.rollback()))

    return engine


def _configure_sqlite(engine: Engine, settings: Settings, *, begin: str) -> None:
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

    @event.listens_for(engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)


def postgresql_engine(settings: Settings, *, name: str, **options: Any) -> AsyncEngine:
    """Make an engine of `database_pool` connections at most."""
    engine = create_async_engine(
        database_url(settings, driver="+psycopg"),
        pool_size=settings.database_pool,
        pool_use_lifo=True,  # a few connections that know their statements, not all in turn
        **options,
        max_overflow=0,
        pool_timeout=60,
        hide_parameters=True,  # they are prompts and replies; errors are logged
        connect_args=_postgresql_arguments(settings, name),
    )

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # by itself psycopg types a number by its size: another statement for each mixture of sizes
        big = import_module("psycopg.types.numeric").Int8BinaryDumper
        connection.driver_connection.adapters.register_dumper(int, big)

    return engine


def _postgresql_arguments(settings: Settings, name: str) -> dict[str, Any]:
    return {
        "application_name": f"{settings.namespace}-{name}",
        "connect_timeout": 5,
        "options": "-c timezone=UTC"
        # nor may a process that froze, or its host that vanished, hold locks for others
        f" -c idle_in_transaction_session_timeout={_SILENT_S}s"
        " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
        # a host that vanished must not hold a worker for the kernel's two hours
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
