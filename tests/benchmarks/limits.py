"""What breaks first: the rate at which each limit is reached, and what to do then."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks import sizing
from tests.benchmarks.costs import Costs
from tests.benchmarks.sizing import (
    BUSY,
    MODEL_S,
    MONTH_S,
    SERVER_CONNECTIONS,
    SERVER_CORES,
    SETTINGS,
    first,
)

_SLOTS = SETTINGS.worker_concurrency


@dataclass(frozen=True)
class Limit:
    """A limit: reached at so many messages a second."""

    rate: float
    what: str
    then: str


def limits(costs: Costs) -> list[Limit]:
    """List all limits, the lowest first."""
    found = [*_of_settings(costs), *_of_postgres(costs), *_of_redis(costs)]
    return sorted(found, key=lambda limit: limit.rate)


def _of_settings(costs: Costs) -> Iterator[Limit]:
    yield Limit(
        SETTINGS.project_concurrency / MODEL_S,
        f"one project: `PROJECT_CONCURRENCY` = {SETTINGS.project_concurrency} runs at once",
        "raise it, if the project may take that much of all slots",
    )
    yield Limit(
        first(lambda rate: sizing.workers(rate, slots_each=_SLOTS) > 2),
        f"two workers of {_SLOTS} slots",
        f"more workers; `WORKER_CONCURRENCY`, up to the {sizing.slots_of_a_core(costs)} slots "
        f"that keep a core {BUSY:.0%} busy",
    )
    yield Limit(
        BUSY * 1e3 / costs.api_ms,
        f"one API process: {BUSY:.0%} of a core",
        "more API processes, behind any load balancer",
    )
    yield Limit(
        SETTINGS.service_queue_limit / MODEL_S,
        f"`SERVICE_QUEUE_LIMIT` = {SETTINGS.service_queue_limit:,} unfinished messages: 503",
        "raise it to twice what runs at once, and `ulimit -n` of the API with it",
    )


def _of_postgres(costs: Costs) -> Iterator[Limit]:
    yield Limit(
        first(lambda rate: _default_connections(rate, costs) > SERVER_CONNECTIONS),
        f"`max_connections` = 100: pools of {SETTINGS.database_pool} a process may open more "
        "(they do under bursts only)",
        "`DATABASE_POOL` = 3; then `max_connections`; from some hundred on PgBouncer",
    )
    yield Limit(
        1e12 / MONTH_S / costs.stored_bytes,
        "a month of rows is 1 TB, and nothing removes them",
        "`messages` and what hangs on them partitioned by time, old parts dropped",
    )
    yield Limit(
        first(lambda rate: _looking(rate, costs) > SERVER_CORES * BUSY / 4),
        f"every worker looks for overdue messages each second: a quarter of {SERVER_CORES} cores",
        "fewer workers with more slots; only the worker that sweeps looks",
    )
    yield Limit(
        SERVER_CORES * BUSY * 1e3 / costs.postgres_ms,
        f"a server of {SERVER_CORES} cores, with nothing of the above",
        "a second service with a database of its own, projects divided between them",
    )
    yield Limit(
        1e6 * SETTINGS.sweep_s / costs.swept_us / MODEL_S,
        f"a sweep takes longer than `SWEEP_S` = {SETTINGS.sweep_s:g} s: a lost worker is noticed "
        "later than promised",
        "partial indexes on what is not hinted; a second service before that",
    )


def _of_redis(costs: Costs) -> Iterator[Limit]:
    def busy(rate: int) -> bool:
        count = sizing.apis(rate, costs)
        return count is None or sizing.redis_cores(rate, count, costs) > BUSY

    yield Limit(
        first(busy),
        "Redis, one core: hints in one list, every ended id to every API process",
        "a Redis for hints and one for channels; RabbitMQ for the hints",
    )
    yield Limit(
        first(lambda rate: rate * costs.heard_us / 1e6 > BUSY / 2),
        "an API process spends half of its share on hearing what ends at others",
        "a channel for each API process: the message names who waits for it",
    )


def _default_connections(rate: float, costs: Costs) -> int:
    count = sizing.apis(rate, costs) or 0
    return sizing.connections(sizing.workers(rate, slots_each=_SLOTS), count)


def _looking(rate: float, costs: Costs) -> float:
    workers = sizing.workers(rate, slots_each=_SLOTS)
    return workers * rate * MODEL_S * costs.overdue_us / 1e6 / SETTINGS.sweep_s
