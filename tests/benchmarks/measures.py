"""All rows of the table, in order."""

from functools import partial

from tests.benchmarks.goals import (
    EMBEDDED,
    FLOOR,
    FLOOR_2,
    GROWN,
    MANY_RUNS,
    OURS,
    PACED,
    Goal,
    Row,
    growth,
    median,
    of,
    percentile,
    ratio,
    total,
    worst,
)

CROWD, WAITING = 500, 2000
PACE, EVEN_PACE = "100", "as many more"
WATCHERS = (100, 1000)
THEIR_MS, THEIR_RATE = 17, 59
"""What the agent in the request makes where issue 5 was written: a message, and 100 clients.

Its goals in milliseconds and messages a second are of that machine. On any machine they are looked
at as they stand, and as ratios to what the agent in the request makes there.
"""
MORE = 100 / THEIR_RATE


def _latency_rows() -> list[Row]:
    p50, claimed = median("latency"), median("accepted_to_claimed")
    goals = (Goal(2, OURS, 1.5), Goal(2, EMBEDDED, 1.5), Goal(5, OURS, 0.7), Goal(5, EMBEDDED, 1.3))
    return [
        Row("1 client, model 0 ms: p50 ms", p50),
        Row("  p95 ms", percentile("latency", 95)),
        Row("  p99 ms", percentile("latency", 99)),
        Row("  p50 / in-request", ratio(p50, FLOOR), goals, 2),
        Row("  accepted to claimed, p50 ms", claimed, (Goal(5, OURS, 5),)),
        Row("    / in-request's message", ratio(claimed, FLOOR, p50), (_theirs(5),), 2),
        Row("  finished to reply, p50 ms", median("finished_to_reply")),
    ]


def _theirs(milliseconds: float) -> Goal:
    return Goal(5, OURS, round(milliseconds / THEIR_MS, 2))


def _throughput_rows() -> list[Row]:
    rate, cpu = median("throughput"), median("cpu")
    one = (Goal(2, OURS, 1, at_least=True), Goal(5, OURS, 2.5, at_least=True))
    two = (Goal(5, OURS, 1.4, at_least=True),)
    groups = ("API", "workers", "Redis", "PostgreSQL")
    return [
        Row("100 clients: messages/s", rate),
        Row("  / in-request, one process", ratio(rate, FLOOR), one, 2),
        Row("  / in-request, two processes", ratio(rate, FLOOR_2), two, 2),
        Row("  CPU a message, ms", cpu),
        *(Row(f"    {group}", median(f"cpu {group}")) for group in groups),
        Row("  CPU / in-request", ratio(cpu, FLOOR), (Goal(5, OURS, 0.65),), 2),
        *_comparison("100 clients, the first ten messages of a session", "first "),
        *_comparison("30 clients, one tool call a message", "tool ", (Goal(5, OURS, 0.4),)),
    ]


def _comparison(label: str, kind: str, cpu_goals: tuple[Goal, ...] = ()) -> list[Row]:
    rate, cpu = median(f"{kind}throughput"), median(f"{kind}cpu")
    return [
        Row(f"{label}: messages/s", rate),
        Row("  / in-request, one process", ratio(rate, FLOOR), digits=2),
        Row("  / in-request, two processes", ratio(rate, FLOOR_2), digits=2),
        Row("  CPU a message, ms", cpu),
        Row("  CPU / in-request", ratio(cpu, FLOOR), cpu_goals, 2),
    ]


def _busy_rows() -> list[Row]:
    rate = median("busy rate")
    faster = (Goal(5, OURS, 2.5, at_least=True),)
    return [
        Row("200 clients, model 1 s: messages/s", rate, (Goal(5, OURS, 150, at_least=True),)),
        Row("  / in-request", ratio(rate, FLOOR), faster, 2),
        Row("  added to the model, p50 s", median("busy added"), digits=2),
        Row("  refused, failed or wrong", worst("busy failed"), digits=0),
    ]


def _crowd_rows(clients: int) -> list[Row]:
    measure = f"crowd {clients} "
    failed = tuple(Goal(2, name, 0) for name in (OURS, EMBEDDED)) if clients == CROWD else ()
    pause = tuple(Goal(2, name, 2) for name in (OURS, EMBEDDED)) if clients == CROWD else ()
    rate = median(measure + "rate")
    return [
        Row(f"{clients} clients at once, model 1 s: messages/s", rate),
        Row("  / in-request", ratio(rate, FLOOR), digits=2),
        Row("  added to the model, p50 s", median(measure + "added"), digits=2),
        Row("  longest wait, s", worst(measure + "longest"), digits=2),
        Row("  longest pause between replies, s", worst(measure + "pause"), pause, 2),
        Row("  refused, failed or wrong", worst(measure + "failed"), failed, 0),
        Row("  API, kB a waiting client", worst(measure + "memory"), digits=0),
    ]


def _waiting_rows(pace: str, asked: str) -> list[Row]:
    measure = f"paced {pace} "
    reply = measure + "finished_to_reply"
    p99 = of(PACED, percentile(reply, 99))
    plain, compared = ((Goal(5, OURS, 50),), ()) if pace == PACE else ((), (_theirs(50),))
    return [
        Row(f"{WAITING} clients waiting, {asked}: messages/s", of(PACED, median(measure + "rate"))),
        Row("  finished to reply, p50 ms", of(PACED, median(reply))),
        Row("    p95 ms", of(PACED, percentile(reply, 95))),
        Row("    p99 ms", p99, plain),
        Row("    p99 / in-request's message", ratio(p99, FLOOR, median("latency")), compared, 2),
        Row("  CPU a message, ms", of(PACED, median(measure + "cpu"))),
        Row(
            "  refused, failed or wrong",
            of(PACED, worst(measure + "failed")),
            (Goal(5, OURS, 0),),
            0,
        ),
    ]


def _stream_rows() -> list[Row]:
    goals = (Goal(4, OURS, 1.33), Goal(4, EMBEDDED, 1.33))
    return [
        Row("30 clients, reply of 60 words in 0.7 s: CPU a message, ms", median("long cpu")),
        Row("    API", median("long cpu API")),
        Row("    workers", median("long cpu workers")),
        Row("  streamed a word at a time and watched, ms", median("streamed cpu")),
        Row("    API", median("streamed cpu API")),
        Row("    workers", median("streamed cpu workers")),
        Row("  streamed / not", growth(median("long cpu"), median("streamed cpu")), goals, 2),
    ]


def _growth_rows() -> list[Row]:
    short, long = (median(f"latency at {items} items") for items in (10, 1000))
    grown = partial(of, GROWN)
    return [
        Row("Session of 10 items: p50 ms", short),
        Row("  of 1,000 items: p50 ms", long),
        Row("  1,000 / 10", growth(short, long), (Goal(5, OURS, 1.5),), 2),
        *(
            Row(f"A million messages / few: {label}", growth(small, grown(small)), digits=2)
            for label, small in (
                ("1 client, p50", median("table latency")),
                ("100 clients, p50", median("table latency of many")),
                ("CPU a message", median("table cpu")),
                ("CPU of PostgreSQL", median("table cpu PostgreSQL")),
            )
        ),
        *(
            Row(
                f"{watchers} watchers / none: 100 clients, {label}",
                growth(median(f"0 watchers {measure}"), median(f"{watchers} watchers {measure}")),
                digits=2,
            )
            for watchers in WATCHERS
            for label, measure in (("p50", "latency of many"), ("CPU a message", "cpu"))
        ),
    ]


def _resource_rows() -> list[Row]:
    at_rest = "process at rest, MB"
    run = of(MANY_RUNS, median("memory of a run"))
    return [
        Row(f"API {at_rest}", median("memory API at rest"), (Goal(5, OURS, 120),), 0),
        Row(f"worker {at_rest}", median("memory workers at rest"), (Goal(5, OURS, 190),), 0),
        Row("worker, kB a run in progress, 300 at once", run, (Goal(5, OURS, 300),), 0),
        Row("API, start to ready, s", median("start API"), digits=2),
        Row("worker, start to ready, s", median("start workers"), digits=2),
        Row("CPU while idle, % of a core", median("idle cpu")),
        Row("a message's rows, bytes", median("stored bytes"), digits=0),
        Row("  its write-ahead log, bytes", median("logged bytes"), digits=0),
        Row(
            "PostgreSQL, µs CPU: a counted unfinished row",
            median("us counted"),
            digits=2,
        ),
        Row("  an unfinished row in a sweep", median("us swept"), digits=2),
        Row("  an unfinished row in a look for overdue ones", median("us overdue"), digits=2),
        Row("  a worker's heartbeat", median("us beat"), digits=0),
        Row("API, µs CPU an ended id that nobody waits for", median("us heard"), digits=0),
        Row("Redis, µs CPU to deliver it to a process", median("us delivered"), digits=2),
        Row("a module of 20 kB, ms CPU to read", median("ms module read"), (Goal(20, OURS, 50),)),
        Row("  to check, without ty", median("ms module checked"), (Goal(20, OURS, 50),)),
        Row("  of ty, in a process of its own", median("ms module typed"), digits=0),
        Row("  to patch", median("ms module patched"), (Goal(20, OURS, 50),)),
        Row("  to replace a text", median("ms module replaced"), (Goal(20, OURS, 50),)),
        Row("  to carry an edit to newer code", median("ms module rebased"), (Goal(20, OURS, 50),)),
        Row("a child process's answer about a small module, ms", median("ms child")),
        Row("load generator and stub, ms CPU a message", median("cpu helpers")),
        Row("messages sent", total("messages"), digits=0),
        Row("  refused, failed or wrong", total("faults"), digits=0),
    ]


def rows() -> list[Row]:
    """List every row; what was not measured is left out when printing."""
    return [
        *_latency_rows(),
        *_throughput_rows(),
        *_busy_rows(),
        *_crowd_rows(CROWD),
        *_crowd_rows(WAITING),
        *_waiting_rows(EVEN_PACE, f"{MORE:.1f} times as many as one in-request asked for"),
        *_waiting_rows(PACE, f"{PACE} asked for a second"),
        *_stream_rows(),
        *_growth_rows(),
        *_resource_rows(),
    ]
