"""The distributed service as a fault test sees it: processes to kill, a client, what they left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import redis

from shared.queue import make_celery, send_task
from shared.settings import Settings
from tests.faults.client import Client
from tests.faults.invariants import Record, read_record, violations
from tests.faults.memories import stale_files, wrong_memories
from tests.services import ApiProcess, WorkerProcess, wait_until
from tests.stub_process import StubOpenAI

QUICK = {
    "VIBECODER_LEASE_S": "3",
    "VIBECODER_HEARTBEAT_S": "0.75",
    "VIBECODER_SWEEP_S": "0.3",
}
"""What makes a worker's death cost little time; the recovery test runs with the defaults."""


@dataclass
class Cluster:
    """API processes and workers on one database and one Redis, with a stub model."""

    directory: Path
    database_url: str
    redis_url: str
    stub: StubOpenAI
    namespace: str
    extra: Mapping[str, str] = field(default_factory=dict)
    apis: list[ApiProcess] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """Return what all processes share."""
        return {
            "VIBECODER_DATABASE_URL": self.database_url,
            "VIBECODER_REDIS_URL": self.redis_url,
            "VIBECODER_NAMESPACE": self.namespace,
            "VIBECODER_MODEL": "stub",
            "OPENAI_BASE_URL": self.stub.base_url,
            **self.extra,
        }

    def api(self, **settings: str) -> ApiProcess:
        """Start a further API process."""
        api = self.make_api(**settings)
        api.start()
        return api

    def make_api(self, **settings: str) -> ApiProcess:
        """Make an API process without starting it."""
        name = f"api-{len(self.apis) + 1}"
        self.apis.append(ApiProcess(self.directory, self.settings | settings, name=name))
        return self.apis[-1]

    def worker(self, **settings: str) -> WorkerProcess:
        """Start a further worker, with a disk of its own as on a host of its own."""
        worker = self.make_worker(**settings)
        worker.start()
        return worker

    def make_worker(self, **settings: str) -> WorkerProcess:
        """Make a worker without starting it."""
        name = f"worker-{len(self.workers) + 1}"
        self.workers.append(WorkerProcess(self.directory, self.settings | settings, name=name))
        return self.workers[-1]

    def doomed_worker(self, moment: str) -> WorkerProcess:
        """Start a worker that kills itself with SIGKILL at that moment."""
        return self.worker(VIBECODER_FAULT_POINT=moment)

    def client(self) -> Client:
        """Return a client that knows every API process."""
        return Client([api.url for api in self.apis])

    def kill_workers(self) -> None:
        """End every worker as by `kill -9`."""
        for worker in self.workers:
            worker.kill()

    def close(self) -> None:
        """End every process."""
        for service in (*self.apis, *self.workers):
            service.kill()

    def model_called(self, containing: str, times: int = 1) -> None:
        """Wait until the model got so many calls whose prompt contains a text."""
        wait_until(
            lambda: len(self.stub.requests(containing)) >= times,
            f"model call {times} of {containing!r}",
            timeout=30,
        )

    def record(self) -> Record:
        """Read the whole database."""
        return read_record(self.database_url)

    def row(self, message_id: str | None) -> Any:
        """Read a message's row."""
        assert message_id is not None
        return self.record().messages[UUID(message_id)]

    def outcomes(self, message_id: str | None) -> list[str | None]:
        """Return how a message's attempts ended, in their order."""
        assert message_id is not None
        return [attempt.outcome for attempt in self.record().attempts_of(UUID(message_id))]

    def hint(self, message_id: str, *, times: int = 1) -> None:
        """Deliver a message's hint, so many times."""
        app = make_celery(Settings.model_validate(self._own_settings()))
        with app:
            for _ in range(times):
                send_task(app, UUID(message_id))

    def hints(self) -> list[bytes]:
        """Return what waits in the broker's queue."""
        with redis.Redis.from_url(self.redis_url) as broker:
            found: Any = broker.lrange(self.queue, 0, -1)
            return list(found)

    @property
    def queue(self) -> str:
        """Return the name of the Redis list that holds the hints."""
        return f"{self.namespace}:{self.namespace}.messages"

    def _own_settings(self) -> dict[str, str]:
        return {
            "redis_url": self.redis_url,
            "database_url": self.database_url,
            "namespace": self.namespace,
        }

    def check(self, *clients: Client) -> None:
        """Fail unless everything that was accepted ended once and is told the same everywhere."""
        record = self.record()
        found = violations(record, [sent for client in clients for sent in client.sent])
        found += wrong_memories(record, self.database_url, [self.data(w) for w in self.workers])
        assert not found, "\n".join(found)

    def stale(self) -> list[Path]:
        """List the session files of living workers that are not as the database says."""
        living = [self.data(worker) for worker in self.workers if worker.running]
        return stale_files(self.record(), living)

    @staticmethod
    def data(worker: WorkerProcess) -> Path:
        """Return the folder of a worker's session files: the first, where it is alone on a disk."""
        return Path(worker.settings["VIBECODER_DATA_DIR"]) / "sessions" / "1"


def died(worker: WorkerProcess) -> None:
    """Wait until a worker has killed itself."""
    wait_until(lambda: not worker.running, f"{worker.name} to die", timeout=30)
