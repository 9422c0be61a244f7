"""The service as an API process and two workers on PostgreSQL and Redis, for many tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.collector import Collector
from tests.services import ApiProcess, WorkerProcess, free_port, terminate_all
from tests.stub_process import StubOpenAI

DISTRIBUTED = pytest.param(
    "distributed", marks=[pytest.mark.services, pytest.mark.xdist_group("distributed")]
)
"""Names the fixture for a test that runs on several forms of the service."""


@dataclass(frozen=True)
class Distributed:
    """An API process and two workers on PostgreSQL and Redis; `offline` and `stub` are models."""

    api: ApiProcess
    workers: tuple[WorkerProcess, WorkerProcess]
    collector: Collector

    @property
    def metrics(self) -> list[str]:
        """Return the addresses of all processes that tell metrics."""
        ports = [worker.settings["VIBECODER_METRICS_PORT"] for worker in self.workers]
        return [self.api.url, *(f"http://127.0.0.1:{port}" for port in ports)]


@contextmanager
def started(
    directory: Path, database_url: str, redis_url: str, stub: StubOpenAI
) -> Iterator[Distributed]:
    """Run the processes while the context is open."""
    with Collector() as collector:
        settings = {
            "VIBECODER_DATABASE_URL": database_url,
            "VIBECODER_REDIS_URL": redis_url,
            "VIBECODER_NAMESPACE": f"distributed-{uuid4().hex[:8]}",
            "VIBECODER_MODEL": "offline",
            "VIBECODER_MODELS": "stub",
            "VIBECODER_MODEL_RETRIES": "0",
            "OPENAI_BASE_URL": stub.base_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        ports = [{"VIBECODER_METRICS_PORT": str(free_port())} for _ in range(2)]
        one, other = (
            WorkerProcess(directory, settings | port, name=f"worker-{number}")
            for number, port in enumerate(ports)
        )
        api = ApiProcess(directory, settings)
        try:
            for process in (api, one, other):
                process.launch()
            for process in (api, one, other):
                process.wait_ready()
            yield Distributed(api, (one, other), collector)
        finally:
            terminate_all((api, one, other))
