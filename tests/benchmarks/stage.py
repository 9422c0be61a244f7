"""The servers of a run, and the services that are started on them."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.benchmarks import contenders
from tests.benchmarks.contenders import Contender, DurablePostgres, Ours
from tests.benchmarks.results import Results
from tests.services import RedisServer, migrate
from tests.stub_process import StubOpenAI

_WAIT_S = {"VIBECODER_SYNC_WAIT_S": "85"}


@dataclass
class Stage:
    """A stub of the model, Redis and PostgreSQL, and a folder for what runs on them."""

    folder: Path
    stub: StubOpenAI
    redis: RedisServer
    postgres: DurablePostgres
    results: Results

    @classmethod
    def opened(cls, stack: ExitStack, folder: Path, results: Results) -> Self:
        """Start the servers; they end with the stack."""
        stub = stack.enter_context(StubOpenAI(record=0))
        redis = stack.enter_context(RedisServer(folder))
        postgres = stack.enter_context(DurablePostgres(folder))
        migrate(postgres.create_database("migrated"))
        return cls(folder, stub, redis, postgres, results)

    @property
    def model(self) -> dict[str, str]:
        """Return the settings with which a service reaches the stub."""
        base_url = self.stub.base_url
        return {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-benchmark", **_WAIT_S}

    def contenders(self, *, quick: bool) -> list[Contender]:
        """Describe who is compared."""
        found: list[Contender] = [
            contenders.in_request(self.folder, self.model, processes=1),
            contenders.in_request(self.folder, self.model, processes=2),
            contenders.embedded(self.folder, self.model),
            self.ours(workers=2),
        ]
        if not quick:
            found.insert(2, contenders.plain_celery(self.folder, self.model, self.redis))
            found.insert(4, self.ours(workers=1))
        return found

    def ours(self, *, workers: int, slots: int = 100, label: str = "") -> Ours:
        """Describe our service on these servers, with a database of its own."""
        return contenders.distributed(
            self.folder,
            self.model,
            self.redis,
            self.postgres,
            workers=workers,
            slots=slots,
            label=label,
        )

    def start(self, stack: ExitStack, contender: Contender) -> None:
        """Start a contender's processes, and note how long that takes; they end with the stack."""
        print(f"starting {contender.name}", file=sys.stderr)
        for group, services in contender.groups.items():
            for service in services:
                if not service.running:
                    began = time.perf_counter()
                    stack.enter_context(service)
                    took = time.perf_counter() - began
                    self.results.of(contender.name)(f"start {group}", [took])

    @contextmanager
    def running(self, contender: Contender) -> Iterator[None]:
        """Run a contender for as long as this lasts."""
        with ExitStack() as stack:
            self.start(stack, contender)
            yield
