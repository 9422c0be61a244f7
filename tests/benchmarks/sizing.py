"""The arithmetic of docs/capacity.md: what a rate of messages needs, and where it ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from shared.settings import Settings
from tests.benchmarks.costs import Costs
from tests.benchmarks.simulation import Slice

MODEL_S = 20.0
BUSY = 0.6  # of a core: beyond, queues grow faster than the load
SERVER_CORES = 32
SERVER_CONNECTIONS = 97  # max_connections = 100, and three are the superuser's
MONTH_S = 30 * 86_400
_MOST = 10_000_000
SETTINGS = Settings(redis_url="redis://localhost", database_url="postgresql://localhost")


@dataclass(frozen=True)
class Size:
    """What a service needs for so many messages a second; cores as they are used on average."""

    rate: float
    running: float
    slots: int
    workers: int
    slots_each: int
    apis: int
    connections: int
    working: float
    """Of these: no message needs one for longer than all its CPU takes."""
    postgres: float
    counting: float
    sweeping: float
    beating: float
    redis: float
    memory_gb: float
    stored_gb_day: float
    logged_mb_s: float


def slots(rate: float) -> int:
    """Return how many runs there are at once, but in one moment of a thousand."""
    running = rate * MODEL_S
    return math.ceil(running + 3 * math.sqrt(running))


def slots_of_a_core(costs: Costs) -> int:
    """Return how many slots keep a worker's core as busy as it should be, in hundreds."""
    carried = BUSY * 1000 / costs.worker_ms * MODEL_S
    return min(max(int(carried // 100) * 100, 100), 1000)


def workers(rate: float, *, slots_each: int) -> int:
    """Return how many worker processes give the slots; two, so that one may die."""
    return max(math.ceil(slots(rate) / slots_each), 2)


def apis(rate: float, costs: Costs) -> int | None:
    """Return how many API processes are needed; None: hearing of all ends takes all of each."""
    left = BUSY - rate * costs.heard_us / 1e6
    if left <= 0:
        return None
    return max(math.ceil(rate * costs.api_ms / 1e3 / left), 2)


def connections(worker_count: int, api_count: int) -> int:
    """Return how many connections to PostgreSQL there may be: a pool each, and heartbeats."""
    return SETTINGS.database_pool * (worker_count + api_count) + worker_count


def redis_cores(rate: float, api_count: int, costs: Costs) -> float:
    """Return how busy Redis' one core is: hints, and every ended id to every API process."""
    return rate * costs.redis_ms / 1e3 + rate * api_count * costs.delivered_us / 1e6


def counting(rate: float, api_count: int, costs: Costs) -> float:
    """Return the cores that count all unfinished messages, each second for each API process."""
    return api_count * rate * MODEL_S * costs.counted_us / 1e6


def size(rate: float, costs: Costs, *, slots_each: int) -> Size | None:
    """Return what a rate needs; None: no number of API processes is enough."""
    running, worker_count = rate * MODEL_S, workers(rate, slots_each=slots_each)
    api_count = apis(rate, costs)
    if api_count is None:
        return None
    a_sweep = running * costs.swept_us / 1e6
    looking = worker_count * running * costs.overdue_us / 1e6
    memory = api_count * costs.api_mb + worker_count * costs.worker_mb
    return Size(
        rate=rate,
        running=running,
        slots=slots(rate),
        workers=worker_count,
        slots_each=slots_each,
        apis=api_count,
        connections=connections(worker_count, api_count),
        working=rate * (costs.api_ms + costs.worker_ms + costs.postgres_ms) / 1e3,
        postgres=rate * costs.postgres_ms / 1e3,
        counting=counting(rate, api_count, costs),
        # one worker at a time sweeps, each wants to once a second
        sweeping=(min(worker_count * a_sweep, 1) + looking) / SETTINGS.sweep_s,
        beating=worker_count / SETTINGS.heartbeat_s * costs.beat_us / 1e6,
        redis=redis_cores(rate, api_count, costs),
        memory_gb=(memory + running * (costs.client_kb + costs.run_kb) / 1e3) / 1e3,
        stored_gb_day=rate * 86_400 * costs.stored_bytes / 1e9,
        logged_mb_s=rate * costs.logged_bytes / 1e6,
    )


def part_of(whole: Size, costs: Costs, *, share: int) -> Slice:
    """Cut a service into so many equal parts, for the simulation; counting and sweeps left out."""
    heard_ms = whole.apis * costs.heard_us / 1e3  # all of them hear of each end
    return Slice(
        rate=whole.rate / share,
        apis=math.ceil(whole.apis / share),
        workers=math.ceil(whole.workers / share),
        slots=whole.slots_each,
        postgres=math.ceil(whole.postgres / BUSY / share),
        api_s=(costs.api_ms + heard_ms) / 1e3,
        worker_s=costs.worker_ms / 1e3,
        postgres_s=costs.postgres_ms / 1e3,
        model_s=MODEL_S,
    )


def cell_rate(costs: Costs) -> int:
    """Return what one database with one Redis carries, in hundreds, once nothing is quadratic."""

    def too_much(rate: int) -> bool:
        needed = size(rate, costs, slots_each=slots_of_a_core(costs))
        return (
            needed is None
            or needed.redis > BUSY
            or needed.postgres + needed.beating > BUSY * SERVER_CORES
        )

    return max(first(too_much) // 100 * 100, 100)


def first(holds: Callable[[int], bool]) -> int:
    """Return the lowest whole rate from which on a limit is passed."""
    low, high = 0, 1
    while not holds(high) and high < _MOST:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
