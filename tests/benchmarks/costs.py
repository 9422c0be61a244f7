"""What a message costs, measured: docs/capacity.md is computed from it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tests.benchmarks.goals import MANY_RUNS, OURS, Value, median, of, worst
from tests.benchmarks.measures import WAITING
from tests.benchmarks.results import Results

FILE = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Costs:
    """CPU in milliseconds a message or microseconds a thing, memory in MB and kB; and from when."""

    at: str
    on: str
    api_ms: float
    worker_ms: float
    postgres_ms: float
    redis_ms: float
    counted_us: float
    """PostgreSQL, an unfinished message that an accept counts."""
    swept_us: float
    """PostgreSQL, an unfinished message that a sweep looks at; one worker at a time."""
    overdue_us: float
    """PostgreSQL, an unfinished message that a worker finds not overdue, each `SWEEP_S`."""
    beat_us: float
    heard_us: float
    """An API process, an ended id that nobody waits for there."""
    delivered_us: float
    """Redis, an ended id to one API process."""
    api_mb: float
    worker_mb: float
    client_kb: float
    run_kb: float
    stored_bytes: float
    logged_bytes: float

    @classmethod
    def of(cls, results: Results, *, at: str, on: str) -> Self:
        """Take the figures of a full run."""
        found = {name: value(results, OURS) for name, value in _MEASURES.items()}
        missing = [name for name, value in found.items() if value is None]
        assert not missing, f"not measured: {missing}"
        return cls(at=at, on=on, **{name: round(value or 0, 3) for name, value in found.items()})

    @classmethod
    def read(cls, file: Path = FILE) -> Self:
        """Read what a run wrote."""
        return cls(**json.loads(file.read_text()))

    def write(self, file: Path = FILE) -> None:
        """Write them for the next reader."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")


_MEASURES: dict[str, Value] = {
    "api_ms": median("cpu API"),
    "worker_ms": median("cpu workers"),
    "postgres_ms": median("cpu PostgreSQL"),
    "redis_ms": median("cpu Redis"),
    "counted_us": median("us counted"),
    "swept_us": median("us swept"),
    "overdue_us": median("us overdue"),
    "beat_us": median("us beat"),
    "heard_us": median("us heard"),
    "delivered_us": median("us delivered"),
    "api_mb": median("memory API at rest"),
    "worker_mb": median("memory workers at rest"),
    "client_kb": worst(f"crowd {WAITING} memory"),
    "run_kb": of(MANY_RUNS, median("memory of a run")),
    "stored_bytes": median("stored bytes"),
    "logged_bytes": median("logged bytes"),
}
