"""The one table: a row a measure, a column a contender, and the goals with whether they are met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.results import Results

FLOOR, FLOOR_2 = "in-request, 1", "in-request, 2"
EMBEDDED, OURS = "embedded", "ours, 2 workers"
CROWD = 500

Value = Callable[[Results, str], float | None]


@dataclass(frozen=True)
class Goal:
    """What a value must be: at most or at least so much, in the column of one contender."""

    issue: int
    contender: str
    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.contender}: {sign} {self.limit:g} (issue {self.issue})"

    def met(self, value: float) -> bool:
        """Compare a measured value."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """A measure, how it is computed for a contender, and what is asked of it."""

    label: str
    value: Value
    goals: tuple[Goal, ...] = ()
    digits: int = 1


def median(measure: str) -> Value:
    """Take the median of a measure."""
    return lambda results, name: results.median(name, measure)


def percentile(measure: str, percent: int) -> Value:
    """Take a percentile of a measure."""
    return lambda results, name: results.quantile(name, measure, percent)


def worst(measure: str) -> Value:
    """Take the largest value of a measure."""
    return lambda results, name: results.worst(name, measure)


def ratio(value: Value, floor: str) -> Value:
    """Compare a value with the floor's."""

    def compare(results: Results, name: str) -> float | None:
        own, other = value(results, name), value(results, floor)
        return own / other if own is not None and other else None

    return compare


def _latency_rows() -> list[Row]:
    p50 = median("latency")
    goals = (Goal(2, OURS, 1.5), Goal(2, EMBEDDED, 1.5), Goal(5, OURS, 0.7), Goal(5, EMBEDDED, 1.3))
    return [
        Row("1 client, model 0 ms: p50 ms", p50),
        Row("  p95 ms", percentile("latency", 95)),
        Row("  p99 ms", percentile("latency", 99)),
        Row("  p50 / in-request", ratio(p50, FLOOR), goals, 2),
        Row("  accepted to claimed, p50 ms", median("accepted_to_claimed"), (Goal(5, OURS, 5),)),
        Row("  finished to reply, p50 ms", median("finished_to_reply")),
    ]


def _throughput_rows(kind: str, label: str, cpu_goal: Goal) -> list[Row]:
    rate, cpu = median(f"{kind}throughput"), median(f"{kind}cpu")
    one = (Goal(2, OURS, 1, at_least=True), Goal(5, OURS, 2.5, at_least=True))
    two = (Goal(5, OURS, 1.4, at_least=True),)
    groups = ("API", "workers", "Redis", "PostgreSQL")
    return [
        Row(f"100 clients{label}: messages/s", rate),
        Row("  / in-request, one process", ratio(rate, FLOOR), () if kind else one, 2),
        Row("  / in-request, two processes", ratio(rate, FLOOR_2), () if kind else two, 2),
        Row("  CPU a message, ms", cpu),
        *(Row(f"    {group}", median(f"{kind}cpu {group}")) for group in groups),
        Row("  CPU / in-request", ratio(cpu, FLOOR), (cpu_goal,), 2),
    ]


def _crowd_rows(clients: int) -> list[Row]:
    measure = f"crowd {clients} "
    failed = tuple(Goal(2, name, 0) for name in (OURS, EMBEDDED)) if clients == CROWD else ()
    pause = tuple(Goal(2, name, 2) for name in (OURS, EMBEDDED)) if clients == CROWD else ()
    rate = median(measure + "rate")
    faster = () if clients == CROWD else (Goal(5, OURS, 2.5, at_least=True),)
    return [
        Row(f"{clients} clients at once, model 1 s: messages/s", rate),
        Row("  / in-request", ratio(rate, FLOOR), faster, 2),
        Row("  added to the model, p50 s", median(measure + "added"), digits=2),
        Row("  longest wait, s", worst(measure + "longest"), digits=2),
        Row("  longest pause between replies, s", worst(measure + "pause"), pause, 2),
        Row("  refused, failed or wrong", worst(measure + "failed"), failed, 0),
    ]


def _stream_rows() -> list[Row]:
    goals = (Goal(4, OURS, 1.33), Goal(4, EMBEDDED, 1.33))
    return [
        Row("30 clients, reply of 60 words: CPU a message, ms", median("long cpu")),
        Row("  streamed a word at a time and watched, ms", median("streamed cpu")),
        Row("    API", median("streamed cpu API")),
        Row("    workers", median("streamed cpu workers")),
        Row("  streamed / not", _streamed, goals, 2),
    ]


def _streamed(results: Results, name: str) -> float | None:
    plain, streamed = (results.median(name, f"{kind} cpu") for kind in ("long", "streamed"))
    return streamed / plain if plain and streamed else None


def _growth(results: Results, name: str) -> float | None:
    short, long = (results.median(name, f"latency at {n} items") for n in (10, 1000))
    return long / short if long and short else None


def _resource_rows() -> list[Row]:
    return [
        Row("Session of 10 items: p50 ms", median("latency at 10 items")),
        Row("  of 1,000 items: p50 ms", median("latency at 1000 items")),
        Row("  1,000 / 10", _growth, (Goal(5, OURS, 1.5),), 2),
        Row("API process at rest, MB", median("memory API at rest"), (Goal(5, OURS, 120),), 0),
        Row(
            "worker process at rest, MB", median("memory workers at rest"), (Goal(5, OURS, 190),), 0
        ),
        Row("API, kB a waiting client", worst("memory API per client"), digits=0),
        Row("workers, kB a waiting client", worst("memory workers per client"), digits=0),
        Row("API, start to ready, s", median("start API"), digits=2),
        Row("worker, start to ready, s", median("start workers"), digits=2),
        Row("CPU while idle, % of a core", median("idle cpu")),
        Row("load generator and stub, ms CPU a message", median("cpu helpers")),
        Row("messages sent", lambda results, name: results.total(name, "messages"), digits=0),
        Row(
            "  refused, failed or wrong",
            lambda results, name: results.total(name, "faults"),
            digits=0,
        ),
    ]


def rows() -> list[Row]:
    """List every row; what was not measured is left out when printing."""
    return [
        *_latency_rows(),
        *_throughput_rows("", "", Goal(5, OURS, 0.65)),
        *_throughput_rows("tool ", ", one tool call", Goal(5, OURS, 0.4)),
        *_crowd_rows(200),
        *_crowd_rows(CROWD),
        *_stream_rows(),
        *_resource_rows(),
    ]


def verdicts(results: Results, row: Row) -> list[str]:
    """Say of each goal of a row whether it is met."""
    said = []
    for goal in row.goals:
        value = row.value(results, goal.contender)
        if value is not None:
            said.append(f"{goal} {'met' if goal.met(value) else 'MISSED'}")
    return said


def table(results: Results, names: Sequence[str]) -> str:
    """Lay out the measured rows; a row with several goals goes on below."""
    lines = [["", *names, "goals"]]
    for row in rows():
        values = [row.value(results, name) for name in names]
        if any(value is not None for value in values):
            cells = ["-" if v is None else f"{v:,.{row.digits}f}" for v in values]
            said = verdicts(results, row) or [""]
            lines.append([row.label, *cells, said[0]])
            lines += [["", *("" for _ in names), more] for more in said[1:]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(names) + 1)]
    return "\n".join(_laid_out(line, widths) for line in lines)


def _laid_out(line: list[str], widths: list[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *cells, line[-1]]).rstrip()
