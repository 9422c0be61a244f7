"""The services that are compared, each as processes of its own: the naive ones and ours."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from typing_extensions import override

from tests.benchmarks.client import Connection, Conversation
from tests.benchmarks.prompts import CODE, history
from tests.benchmarks.rows import insert_history
from tests.services import (
    ApiProcess,
    EmbeddedService,
    PostgresServer,
    RedisServer,
    Service,
    WorkerProcess,
    clean_environment,
    free_port,
)

CLIENTS_PER_PROJECT = 10
Groups = Mapping[str, Sequence[Service]]
"""Processes by what they are for."""


class DurablePostgres(PostgresServer):
    """PostgreSQL as it is delivered: what is committed is on the disk, unlike in tests."""

    @override
    def command(self) -> list[str]:
        durable = ("fsync", "synchronous_commit", "full_page_writes")
        return [*super().command(), *(part for name in durable for part in ("-c", f"{name}=on"))]


class Uvicorn(Service):
    """One of the naive applications, in one or several processes."""

    def __init__(
        self, directory: Path, factory: str, settings: Mapping[str, str], *, workers: int = 1
    ) -> None:
        super().__init__(directory, name=f"uvicorn-{factory.partition(':')[0]}-{workers}")
        self.port = free_port()
        self._factory = factory
        self._settings = settings
        self._workers = workers

    @override
    def command(self) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-access-log"]
        amount = ["--workers", str(self._workers)] if self._workers > 1 else []
        factory = f"tests.benchmarks.{self._factory}"
        quiet = ["--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", "--factory", factory, *options, *amount, *quiet]

    @override
    def environment(self) -> dict[str, str]:
        return clean_environment(self._settings)

    @override
    def ready(self) -> bool:
        return ApiProcess.answers(self, "/health")  # type: ignore[arg-type]  # only needs `url`

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"


class PlainWorker(Service):
    """Celery with its own defaults, but for the number of processes."""

    @override
    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(directory, name="plain-worker")
        self._settings = settings

    @override
    def command(self) -> list[str]:
        app = ["-A", "tests.benchmarks.plain_celery:tasks", "worker", "--concurrency", "8"]
        return [sys.executable, "-m", "celery", *app, "--loglevel", "INFO"]

    @override
    def environment(self) -> dict[str, str]:
        return clean_environment(self._settings)

    @override
    def ready(self) -> bool:
        return " ready." in self.output()


@dataclass
class Contender(ABC):
    """One way to serve VibeCoder; `groups` are its processes by what they are for."""

    name: str
    port: int
    groups: Groups

    @abstractmethod
    async def begin(self, clients: int, *, remembered: int = 0) -> list[Conversation]:
        """Begin a session for each client, with a history of so many items."""

    def pids(self, group: str) -> list[int]:
        """Return the processes of a group."""
        return [service.pid for service in self.groups[group]]


class Naive(Contender):
    """A service that knows a session when it hears of it."""

    @override
    async def begin(self, clients: int, *, remembered: int = 0) -> list[Conversation]:
        sessions = [f"/sessions/{uuid4()}" for _ in range(clients)]
        if remembered:
            async with Connection(self.port) as connection:
                for session in sessions:
                    await connection.post(f"{session}/items", history(remembered))
        return [Conversation(f"{session}/messages", remembered) for session in sessions]


@dataclass
class Ours(Contender):
    """Our service; clients are spread over projects, for one project's share is limited."""

    settings: Mapping[str, str] = field(default_factory=dict)

    @override
    async def begin(self, clients: int, *, remembered: int = 0) -> list[Conversation]:
        sessions: list[str] = []
        async with Connection(self.port) as connection:
            project = ""
            for number in range(clients):
                if number % CLIENTS_PER_PROJECT == 0:
                    project = await _made(connection, "/projects", {"name": "p", "code": CODE})
                path = f"/projects/{project}/sessions"
                sessions.append(await _made(connection, path, {"new": True}))
        if remembered:
            insert_history(self.settings, sessions, history(remembered))
        return [Conversation(f"/sessions/{session}/messages", remembered) for session in sessions]


async def _made(connection: Connection, path: str, body: dict[str, object]) -> str:
    status, content = await connection.post(path, body)
    assert status == 201, content
    return content.decode().split('"')[3]  # both answers begin with the id


def in_request(directory: Path, model: Mapping[str, str], *, processes: int) -> Naive:
    """Describe the agent in the request, in so many processes."""
    settings = {**model, "VIBECODER_DATA_DIR": str(directory / f"in-request-{processes}")}
    api = Uvicorn(directory, "in_request:create_app", settings, workers=processes)
    return Naive(f"in-request, {processes}", api.port, {"API": [api]})


def plain_celery(directory: Path, model: Mapping[str, str], redis: RedisServer) -> Naive:
    """Describe FastAPI, a Celery task and `get()`."""
    settings = {
        **model,
        "VIBECODER_DATA_DIR": str(directory / "plain"),
        "VIBECODER_REDIS_URL": redis.url.removesuffix("0") + "1",
    }
    api = Uvicorn(directory, "plain_celery:create_app", settings)
    groups: Groups = {"workers": [PlainWorker(directory, settings)], "API": [api], "Redis": [redis]}
    return Naive("Celery get()", api.port, groups)


def embedded(directory: Path, model: Mapping[str, str]) -> Ours:
    """Describe our service in one process, on SQLite."""
    service = EmbeddedService(directory, model)
    return Ours("embedded", service.port, {"API": [service]}, settings=service.settings)


def distributed(
    directory: Path,
    model: Mapping[str, str],
    redis: RedisServer,
    postgres: PostgresServer,
    *,
    workers: int,
    slots: int = 100,
    label: str = "",
) -> Ours:
    """Describe our service with PostgreSQL, Redis, one API process and so many workers."""
    label = label or f"ours, {workers} worker{'s' * (workers > 1)}"
    name = label.replace(", ", "-").replace(" ", "-")
    settings = {
        **model,
        # as by default on one host: the workers share the session files
        "VIBECODER_DATA_DIR": str(directory / f"{name}-data"),
        "VIBECODER_DATABASE_URL": postgres.create_database(template="migrated"),
        "VIBECODER_REDIS_URL": redis.url,
        "VIBECODER_NAMESPACE": name,
        "VIBECODER_WORKER_CONCURRENCY": str(slots),
    }
    api = ApiProcess(directory, settings, name=f"{name}-api")
    processes = [
        WorkerProcess(directory, settings, name=f"{name}-worker-{number}")
        for number in range(workers)
    ]
    groups: Groups = {
        "workers": processes,
        "API": [api],
        "Redis": [redis],
        "PostgreSQL": [postgres],
    }
    return Ours(label, api.port, groups, settings=settings)
