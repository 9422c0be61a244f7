"""`python -m tests.benchmarks.capacity`: compute the tables of docs/capacity.md and write them."""

import argparse
import math
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.costs import FILE, Costs
from tests.benchmarks.limits import limits
from tests.benchmarks.simulation import simulate
from tests.benchmarks.sizing import (
    SETTINGS,
    Size,
    cell_rate,
    part_of,
    size,
    slots,
    slots_of_a_core,
)
from tests.services import ROOT

PAGE = ROOT / "docs" / "capacity.md"
RATES = (10, 1_000, 100_000)
_SIMULATED = 1_000  # messages a second, at the most
_WARM_UP_S, _SIMULATED_S, _FEWEST = 80, 60, 10_000
_FEW = 10  # workers of the default number of slots

Row = Sequence[str]


def main() -> None:
    """Write every table of the page anew."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.capacity")
    parser.add_argument("--costs", type=Path, default=FILE, help="what the benchmark measured")
    costs = Costs.read(parser.parse_args().costs)
    PAGE.write_text(filled(PAGE.read_text(), computed(costs) | {"simulated": simulated(costs)}))


def computed(costs: Costs) -> dict[str, str]:
    """Return the tables that are arithmetic."""
    return {"costs": _costs(costs), "sizes": _sizes(costs), "limits": _limits(costs)}


def filled(page: str, tables: dict[str, str]) -> str:
    """Put tables between their marks, `<!-- name -->` and `<!-- end -->`."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert place.search(page), f"the page has no place for {name}"
        page = place.sub(rf"\g<1>{table}\n\g<2>", page)
    return page


def _table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _costs(costs: Costs) -> str:
    rows = (
        ("API: CPU a message", f"{costs.api_ms:g} ms"),
        ("worker: CPU a message", f"{costs.worker_ms:g} ms"),
        ("PostgreSQL: CPU a message", f"{costs.postgres_ms:g} ms"),
        ("Redis: CPU a message", f"{costs.redis_ms:g} ms"),
        ("PostgreSQL: an unfinished message, in a count of all", f"{costs.counted_us:g} µs"),
        ("PostgreSQL: an unfinished message, in a sweep", f"{costs.swept_us:g} µs"),
        ("PostgreSQL: an unfinished message, looked at for overdue", f"{costs.overdue_us:g} µs"),
        ("PostgreSQL: a worker's heartbeat", f"{costs.beat_us:g} µs"),
        ("API process: an ended id that nobody waits for there", f"{costs.heard_us:.0f} µs"),
        ("Redis: an ended id to one API process", f"{costs.delivered_us:g} µs"),
        (
            "API process: at rest; a waiting client",
            f"{costs.api_mb:.0f} MB; {costs.client_kb:.0f} kB",
        ),
        ("worker process: at rest; a run", f"{costs.worker_mb:.0f} MB; {costs.run_kb:.0f} kB"),
        (
            "a message in the tables; in the write-ahead log",
            f"{costs.stored_bytes / 1e3:.1f} kB; {costs.logged_bytes / 1e3:.1f} kB",
        ),
    )
    return f"{_table(('part', 'cost'), rows)}\n\nMeasured {costs.at}: {costs.on}."


def planned(rate: int, costs: Costs) -> tuple[int, Size]:
    """Return how many services carry a rate, and the size of each."""
    count = math.ceil(rate / cell_rate(costs))
    small = slots(rate) <= _FEW * SETTINGS.worker_concurrency
    slots_each = SETTINGS.worker_concurrency if small else slots_of_a_core(costs)
    each = size(rate / count, costs, slots_each=slots_each)
    assert each is not None, "a service is no larger than it can be"
    return count, each


def _sizes(costs: Costs) -> str:
    plans = [planned(rate, costs) for rate in RATES]

    def each(label: str, value: Callable[[Size], str]) -> Row:
        return (label, *(value(service) for _, service in plans))

    def together(label: str, value: Callable[[Size], float]) -> Row:
        return (label, *(f"{count * value(service):,.0f}" for count, service in plans))

    rows = (
        ("services", *(f"{count}, of {service.rate:,.0f}/s" for count, service in plans)),
        each("*each service:* runs at once; slots", lambda s: f"{s.running:,.0f}; {s.slots:,}"),
        each("workers; slots of each", lambda s: f"{s.workers:,}; {s.slots_each}"),
        each("API processes", lambda s: f"{s.apis:,}"),
        each("connections to PostgreSQL, at most", lambda s: f"{s.connections:,}"),
        each("connections that have work, at most", lambda s: f"{s.working:,.1f}"),
        each("cores of PostgreSQL in use", lambda s: f"{s.postgres + s.beating:,.2f}"),
        each("the same for counting unfinished messages", lambda s: f"{s.counting:,.2f}"),
        each("the same for sweeps and overdue ones", lambda s: f"{s.sweeping:,.2f}"),
        each("core of Redis in use", lambda s: f"{s.redis:.2f}"),
        each("write-ahead log, MB/s", lambda s: f"{s.logged_mb_s:,.1f}"),
        together("*all services:* processes", lambda s: s.workers + s.apis),
        together("memory of API and workers, GB", lambda s: s.memory_gb),
        together("rows a day, GB", lambda s: s.stored_gb_day),
    )
    return _table(("", *(f"{rate:,} messages/s" for rate in RATES)), rows)


def _limits(costs: Costs) -> str:
    rows = [(_rounded(limit.rate), limit.what, limit.then) for limit in limits(costs)]
    return _table(("messages/s", "what is reached", "what to do then"), rows)


def _rounded(rate: float) -> str:
    """Write two digits of a number: more would promise too much."""
    return f"{float(f'{rate:.2g}'):,g}"


def simulated(costs: Costs, *, most: float = _SIMULATED, seconds: float = _SIMULATED_S) -> str:
    """Return the table of what the simulation saw, of at most so many messages a second."""
    rows = []
    for rate in RATES:
        count, service = planned(rate, costs)
        share = max(math.ceil(service.rate / most), 1)
        part = part_of(service, costs, share=share)
        seen = simulate(part, warm_up_s=_WARM_UP_S, seconds=max(seconds, _FEWEST / part.rate))
        expected = (
            part.rate * part.api_s / part.apis,
            part.rate * part.worker_s / part.workers,
            part.rate * part.postgres_s / part.postgres,
        )
        found = (seen.api, seen.worker, seen.postgres)
        busy = [f"{a:.0%} / {b:.0%}" for a, b in zip(expected, found, strict=True)]
        delays = [f"{_percentile(seen.added_s, n) * 1e3:,.0f}" for n in (50, 95, 99)]
        rows.append((f"{rate:,}", f"1/{count * share}", *busy, *delays, f"{seen.waited:.1%}"))
    head = ("messages/s", "part", "API", "worker", "PostgreSQL", "p50", "p95", "p99", "waited")
    return _table(head, rows)


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
