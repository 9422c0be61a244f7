"""Redis and PostgreSQL on free ports, from Debian's packages or the PATH."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psycopg
import redis
from psycopg import sql

from tests.services.process import Service, clean_environment, free_port, tether, wait_until


class RedisServer(Service):
    """A redis-server that keeps nothing: each start is empty."""

    def __init__(self, directory: Path, *, name: str = "redis", address: str = "127.0.0.1") -> None:
        super().__init__(directory, name=name)
        self.program = _redis_program()
        self.port = free_port()
        self._address = address
        self.url = f"redis://{address}:{self.port}/0"

    def command(self) -> list[str]:
        listen = ["--bind", self._address, "--port", str(self.port), "--protected-mode", "no"]
        return [self.program, *listen, "--save", "", "--appendonly", "no"]

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class PostgresServer(Service):
    """A PostgreSQL server of its own; not durable, which makes it fast, but kill -9 is safe."""

    stop_signal = signal.SIGINT  # "fast": ends connections and stops

    def __init__(
        self, directory: Path, *, name: str = "postgres", address: str = "127.0.0.1"
    ) -> None:
        super().__init__(directory, name=name)
        self._address = address
        self.programs = Path(_postgres_program()).parent
        self.port = free_port()
        # not in `directory`: pytest's are closed to the user postgres, and long for a socket
        self.home = Path(tempfile.mkdtemp(prefix="vibecoder-postgres-"))
        self._user = _postgres_user(self.home)
        self._databases = 0
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)

    def command(self) -> list[str]:
        options = {
            "listen_addresses": self._address,
            "port": str(self.port),
            "unix_socket_directories": str(self.home),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "log_checkpoints": "off",  # a line for each database made hides what a test's log says
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [*self._user, str(self.programs / "postgres"), "-D", str(self._data), *settings]

    def launch(self) -> None:
        if not self._data.exists():
            subprocess.run(
                [
                    *self._user,
                    str(self.programs / "initdb"),
                    *("-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                    *("--no-sync", "--locale=C"),
                ],
                check=True,
                cwd=self.home,
                env=clean_environment(),
                stdout=subprocess.DEVNULL,
            )
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")
        wait_until(lambda: not self._is_held(), "processes of the killed server to end")
        super().launch()

    def ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _is_held(self) -> bool:
        """Tell whether what a killed server left behind still has its shared memory."""
        left, known = self._data / "postmaster.pid", Path("/proc/sysvipc/shm")
        if not left.exists() or not known.exists():
            return False
        segment = left.read_text().splitlines()[6].split()[1]
        rows = [row.split() for row in known.read_text().splitlines()[1:]]
        return any(row[1] == segment and row[6] != "0" for row in rows)

    def url(self, database: str) -> str:
        """Return the URL of a database on this server."""
        return f"postgresql://postgres@{self._address}:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one statement outside of a transaction."""
        options = {"autocommit": True, "connect_timeout": 2}
        with psycopg.connect(self.url(database), **options) as connection:  # type: ignore[arg-type]
            connection.execute(statement.encode())

    def create_database(self, name: str | None = None, *, template: str = "template1") -> str:
        """Create a database as a copy of the template and return its URL."""
        self._databases += 1
        name = name or f"test_{self._databases}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def empty(self, url: str) -> None:
        """Delete all rows but the schema's revision, after ending all connections.

        `DELETE` without foreign keys takes a millisecond where little was stored, `TRUNCATE` 50.
        """
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("SET session_replication_role = replica")
            for (table,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                " AND tablename <> 'alembic_version'"
            ).fetchall():
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        shutil.rmtree(self.home, ignore_errors=True)


class NotInstalled(RuntimeError):
    """A server's program is not installed."""


def not_installed() -> list[str]:
    """Say which servers' programs are not there, and how to install them."""
    found: list[str] = []
    for program in (_redis_program, _postgres_program):
        try:
            program()
        except NotInstalled as missing:
            found.append(str(missing))
    return found


def _redis_program() -> str:
    return _program("redis-server", package="redis-server")


def _program(name: str, *, package: str) -> str:
    if found := shutil.which(name):
        return found
    raise NotInstalled(f"{name} is not installed; on Debian: apt install {package}")


def _postgres_program() -> str:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_major)
    if versions:
        return str(versions[-1])
    return _program("postgres", package="postgresql")


def _major(program: Path) -> int:
    return int(program.parents[1].name)


def _postgres_user(home: Path) -> Sequence[str]:
    """Return what runs a command as a user whom PostgreSQL accepts; it refuses root."""
    if os.geteuid() != 0:
        return ()
    shutil.chown(home, "postgres", "postgres")
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *tether())
