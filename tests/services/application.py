"""The service itself as processes: the API, workers, and both in one."""

import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psycopg

from shared import schema
from shared.settings import Settings
from tests.services.process import ROOT, Service, clean_environment, free_port

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ApiProcess(Service):
    """`python -m api` with these settings; its own data folder unless the settings name one."""

    module = "api"

    def __init__(
        self, directory: Path, settings: Mapping[str, str] | None = None, *, name: str = "api"
    ) -> None:
        super().__init__(directory, name=name)
        self.port = free_port()
        self.settings = {
            "VIBECODER_DATA_DIR": str(directory / f"{name}-data"),
            "VIBECODER_HOST": "127.0.0.1",
            "VIBECODER_PORT": str(self.port),
        } | dict(settings or {})
        self.url = f"http://{self.settings['VIBECODER_HOST']}:{self.port}"

    def environment(self) -> dict[str, str]:
        return clean_environment(self.settings)

    def ready(self) -> bool:
        return self.answers("/health")

    def answers(self, path: str) -> bool:
        """Tell whether a GET of the path is answered with a 2xx."""
        try:
            with _DIRECT.open(self.url + path, timeout=2):
                return True
        except urllib.error.HTTPError:
            return False


class EmbeddedService(ApiProcess):
    """`python -m api` without Redis: API, worker and SQLite in one process."""

    def __init__(
        self, directory: Path, settings: Mapping[str, str] | None = None, *, name: str = "embedded"
    ) -> None:
        super().__init__(directory, settings, name=name)
        assert "VIBECODER_REDIS_URL" not in self.settings

    def ready(self) -> bool:
        return self.answers("/ready")


class WorkerProcess(Service):
    """`python -m worker` with these settings; ready once its row is in the database."""

    module = "worker"
    ready_every_s = 0.1  # each time is a new connection to the database

    def __init__(
        self, directory: Path, settings: Mapping[str, str], *, name: str = "worker"
    ) -> None:
        super().__init__(directory, name=name)
        self.settings = {"VIBECODER_DATA_DIR": str(directory / f"{name}-data")} | dict(settings)

    def environment(self) -> dict[str, str]:
        return clean_environment(self.settings)

    def ready(self) -> bool:
        url = self.settings.get("VIBECODER_DATABASE_URL", "")
        query = f"SELECT 1 FROM workers WHERE pid = {self.pid}"  # a pid is an integer
        try:
            if url.startswith("postgresql"):
                with psycopg.connect(url, connect_timeout=2) as server:
                    return server.execute(query.encode()).fetchone() is not None
            default = Path(self.settings["VIBECODER_DATA_DIR"]) / "vibecoder.db"
            file = url.removeprefix("sqlite:///") or str(default)
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as local:
                return local.execute(query).fetchone() is not None
        except (psycopg.Error, sqlite3.Error):
            return False


def migrate(url: str) -> None:
    """Bring a PostgreSQL or SQLite database to the newest schema, as a deployment does."""
    settings = {"VIBECODER_DATABASE_URL": url, "VIBECODER_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        check=False,
        cwd=ROOT,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def make_schema(url: str) -> None:
    """Do the same in this process, which takes a tenth of the time."""
    schema.migrate(Settings(database_url=url, redis_url="redis://127.0.0.1:1/0"))
