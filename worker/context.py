"""The parts of a worker process that its attempts share."""

from dataclasses import dataclass
from uuid import UUID

from shared.announcer import Announcer
from shared.database import Database
from shared.prices import Prices
from shared.settings import Settings
from shared.workflow.checker import CodeChecker
from worker.memory.session import Memories
from worker.model.client import Models
from worker.recorder import Recorder
from worker.runs import Runs


@dataclass(frozen=True)
class WorkerContext:
    """The collaborators of an attempt, the same for all attempts of a process."""

    settings: Settings
    worker_id: UUID
    database: Database
    announcer: Announcer
    memories: Memories
    models: Models
    runs: Runs
    recorder: Recorder
    prices: Prices
    checker: CodeChecker
