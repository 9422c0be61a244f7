"""What is measured, in which order, and how much of it: all contenders by turns."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tests.benchmarks import parts
from tests.benchmarks.contenders import Contender, Ours
from tests.benchmarks.goals import FLOOR, FLOOR_2, GROWN, MANY_RUNS, OURS, PACED
from tests.benchmarks.measures import CROWD, EVEN_PACE, MORE, PACE, WAITING, WATCHERS
from tests.benchmarks.results import Results
from tests.benchmarks.rows import fill
from tests.benchmarks.scenarios import FIRST_TURNS, LONG, STREAMED, TOOL, TURNS, Bench
from tests.benchmarks.stage import Stage
from tests.benchmarks.watching import watched

Turn = Callable[[Contender], Awaitable[None]]


async def _alternate(title: str, found: Sequence[Contender], turn: Turn, *, rounds: int) -> None:
    for number in range(rounds):
        for contender in found:
            print(f"{title}, round {number + 1}: {contender.name}", file=sys.stderr)
            await turn(contender)


async def quick(bench: Bench, found: Sequence[Contender]) -> None:
    """Measure the ratios to the agent in the request."""
    await warm_up(found)
    await _alternate("one client", found, lambda c: bench.one_client(c, sessions=1), rounds=3)
    await _alternate("100 clients", found, partial(_many_clients, bench), rounds=1)
    await _alternate("500 clients", found, lambda c: bench.crowd(c, clients=CROWD), rounds=1)
    await _streams(bench, found, rounds=2)


async def full(bench: Bench, found: Sequence[Contender], stage: Stage) -> None:
    """Measure everything."""
    await _alternate("idle", found, lambda c: bench.idle(c, seconds=3), rounds=1)
    await warm_up(found)
    await _alternate("one client", found, lambda c: bench.one_client(c, sessions=2), rounds=3)
    # `get()` is measured where it is used: eight tasks at once make a crowd of 500 wait a minute
    agents = [c for c in found if c.name != "Celery get()"]
    await _alternate("100 clients", found, partial(_many_clients, bench), rounds=1)
    await _alternate("100 clients", agents, partial(_many_clients, bench), rounds=1)
    first = partial(_many_clients, replace(bench, prefix="first "), messages=FIRST_TURNS)
    await _alternate("100 clients, first messages", agents, first, rounds=1)
    tool = partial(bench.many_clients, clients=30, messages=TURNS, kind=TOOL)
    await _alternate("30 clients, tool", agents, tool, rounds=1)
    busy = partial(bench.busy, clients=200, messages=FIRST_TURNS)
    await _alternate("200 clients", agents, busy, rounds=1)
    await _alternate("500 clients", agents, lambda c: bench.crowd(c, clients=CROWD), rounds=1)
    await _alternate(
        "growing sessions",
        [c for c in agents if c.name != "in-request, 2"],
        lambda c: _long_sessions(bench, c),
        rounds=2,
    )
    await _streams(bench, found, rounds=4)
    ours = next(c for c in found if isinstance(c, Ours) and c.name == OURS)
    floors = [c for c in found if c.name in (FLOOR, FLOOR_2)]
    crowd = partial(bench.crowd, clients=WAITING)
    await _alternate(f"{WAITING} clients", [*floors, ours], crowd, rounds=1)
    many = bench.results.median(FLOOR, "throughput")
    assert many is not None
    paces = {EVEN_PACE: MORE * many, PACE: float(PACE)}
    await waiting(bench, stage, clients=WAITING, paces=paces)
    await watchers(bench, ours)
    await growing_table(bench, stage, ours)
    await many_runs(bench, stage)
    await parts.measure(bench, stage, ours)


async def _many_clients(bench: Bench, contender: Contender, *, messages: int = TURNS) -> None:
    await bench.many_clients(contender, clients=100, messages=messages)


async def _streams(bench: Bench, found: Sequence[Contender], *, rounds: int) -> None:
    ours = [contender for contender in found if isinstance(contender, Ours)]
    for kind in (LONG, STREAMED) * rounds:
        turn = partial(bench.many_clients, clients=30, messages=2, kind=kind)
        await _alternate(f"30 clients, {kind}reply", ours, turn, rounds=1)


async def _long_sessions(bench: Bench, contender: Contender) -> None:
    messages = 10 if contender.name == FLOOR else 40  # with 1,000 items it takes a second for each
    for items in (10, 1000):
        await bench.long_session(contender, items=items, messages=messages)


async def waiting(bench: Bench, stage: Stage, *, clients: int, paces: Mapping[str, float]) -> None:
    """Keep so many clients waiting at two workers that have slots for all of them."""
    paced = stage.ours(workers=2, slots=clients // 2, label=PACED)
    with stage.running(paced):
        await warm_up([paced])
        for pace, rate in paces.items():
            turn = partial(bench.paced, clients=clients, rate=rate, pace=pace)
            title = f"{clients} clients wait, {rate:.0f} a second"
            await _alternate(title, [paced], turn, rounds=1)


async def watchers(
    bench: Bench,
    ours: Ours,
    *,
    numbers: Sequence[int] = (0, *WATCHERS),
    clients: int = 100,
    rounds: int = 1,
) -> None:
    """Let clients talk while others watch."""
    for _ in range(rounds):
        for number in numbers:
            turn = partial(watched, bench, watchers=number, clients=clients, messages=3)
            await _alternate(f"{number} watchers", [ours], turn, rounds=1)


async def growing_table(
    bench: Bench, stage: Stage, ours: Ours, *, messages: int = 1_000_000, rounds: int = 2
) -> None:
    """Measure the same turns on tables of so many messages, and on the small ones."""
    grown = stage.ours(workers=2, label=GROWN)
    print(f"filling a database with {messages:,} messages", file=sys.stderr)
    fill(grown.settings["VIBECODER_DATABASE_URL"], messages=messages)
    measuring = replace(bench, prefix="table ")

    async def turn(contender: Contender) -> None:
        await measuring.one_client(contender, sessions=3)
        await measuring.many_clients(contender, clients=100, messages=3)

    with stage.running(grown):
        await warm_up([grown, ours])
        await _alternate("growing table", [ours, grown], turn, rounds=rounds)


async def many_runs(bench: Bench, stage: Stage, *, runs: int = 300, model_s: float = 15) -> None:
    """Let one worker run so many messages at once."""
    contender = stage.ours(workers=1, slots=runs, label=MANY_RUNS)
    with stage.running(contender):
        await warm_up([contender])
        await bench.runs(contender, runs=runs, model_s=model_s)


async def warm_up(found: Sequence[Contender], kind: str = "") -> None:
    """Let each answer some messages that do not count."""
    discarded = Bench(Results(), helpers=[])
    for contender in found:
        await discarded.many_clients(contender, clients=30, messages=2, kind=kind)
