"""`python -m tests.benchmarks [--quick] [--out FILE]`: start everything, measure, print, end."""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks import contenders, report
from tests.benchmarks.contenders import Contender, DurablePostgres, Ours
from tests.benchmarks.results import Results
from tests.benchmarks.scenarios import LONG, STREAMED, TOOL, TURNS, Bench
from tests.benchmarks.usage import require_proc
from tests.services import RedisServer, migrate
from tests.stub_process import StubOpenAI

_LIMIT_S = 600
_WAIT_S = {"VIBECODER_SYNC_WAIT_S": "85"}


def main() -> None:
    """Measure all contenders by turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="the ratios of issue 2, in a minute")
    parser.add_argument("--out", type=Path, help="write every sample to this file, as JSON")
    options = parser.parse_args()
    require_proc()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    results, began = Results(), time.monotonic()
    try:
        with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="vibecoder-bench-") as folder:
            names = _run(stack, Path(folder), results, quick=options.quick)
    except pytest.skip.Exception as missing:  # what tests.services says without Redis, PostgreSQL
        sys.exit(str(missing))
    print(f"\n{report.table(results, names)}\n")
    print(f"{_host()}; {time.monotonic() - began:.0f} s; model: a stub on loopback")
    print(*results.faults[:10], sep="\n")
    if options.out:
        options.out.write_text(json.dumps({"host": _host(), "samples": results.samples}, indent=1))
    sys.exit(any(fault.startswith(("ours", "embedded")) for fault in results.faults))


def _host() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def _run(stack: ExitStack, folder: Path, results: Results, *, quick: bool) -> list[str]:
    stub = stack.enter_context(StubOpenAI(record=0))
    redis = stack.enter_context(RedisServer(folder))
    postgres = stack.enter_context(DurablePostgres(folder))
    migrate(postgres.create_database("migrated"))
    model = {"OPENAI_BASE_URL": stub.base_url, "OPENAI_API_KEY": "sk-benchmark", **_WAIT_S}
    found: list[Contender] = [
        contenders.in_request(folder, model, processes=1),
        contenders.in_request(folder, model, processes=2),
        contenders.embedded(folder, model),
        contenders.distributed(folder, model, redis, postgres, workers=2),
    ]
    if not quick:
        found.insert(2, contenders.plain_celery(folder, model, redis))
        found.insert(4, contenders.distributed(folder, model, redis, postgres, workers=1))
    for contender in found:
        _start(stack, contender, results)
    bench = Bench(results, helpers=[os.getpid(), stub._process.pid])
    with asyncio.Runner() as runner:
        runner.run(_bounded(_quick(bench, found) if quick else _full(bench, found), results))
    return [contender.name for contender in found]


def _start(stack: ExitStack, contender: Contender, results: Results) -> None:
    print(f"starting {contender.name}", file=sys.stderr)
    for group, services in contender.groups.items():
        for service in services:
            if not service.running:
                began = time.perf_counter()
                stack.enter_context(service)
                results.of(contender.name)(f"start {group}", [time.perf_counter() - began])


async def _bounded(work: Awaitable[None], results: Results) -> None:
    own = asyncio.current_task()
    assert own
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, own.cancel)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await work
    except (TimeoutError, asyncio.CancelledError):
        results.faults.append(f"ours: ended early, by a signal or after {_LIMIT_S} s")


Turn = Callable[[Contender], Awaitable[None]]


async def _alternate(title: str, found: Sequence[Contender], turn: Turn, *, rounds: int) -> None:
    for number in range(rounds):
        for contender in found:
            print(f"{title}, round {number + 1}: {contender.name}", file=sys.stderr)
            await turn(contender)


async def _quick(bench: Bench, found: Sequence[Contender]) -> None:
    await _warm_up(found)
    await _alternate("one client", found, lambda c: bench.one_client(c, sessions=2), rounds=3)
    await _alternate(
        "100 clients", found, lambda c: bench.many_clients(c, clients=100, messages=TURNS), rounds=1
    )
    await _alternate("500 clients", found, lambda c: bench.crowd(c, clients=report.CROWD), rounds=1)
    await _streams(bench, found)


async def _full(bench: Bench, found: Sequence[Contender]) -> None:
    await _alternate("idle", found, lambda c: bench.idle(c, seconds=3), rounds=1)
    await _warm_up(found)
    await _alternate("one client", found, lambda c: bench.one_client(c, sessions=4), rounds=3)
    await _alternate(
        "100 clients", found, lambda c: bench.many_clients(c, clients=100, messages=TURNS), rounds=3
    )
    # `get()` is measured where it is used: eight tasks at once make a crowd of 500 wait a minute
    agents = [c for c in found if c.name != "Celery get()"]
    await _alternate(
        "100 clients, tool",
        agents,
        lambda c: bench.many_clients(c, clients=100, messages=1, kind=TOOL),
        rounds=2,
    )
    await _alternate("200 clients", found, lambda c: bench.crowd(c, clients=200), rounds=1)
    await _alternate(
        "500 clients", agents, lambda c: bench.crowd(c, clients=report.CROWD), rounds=1
    )
    await _alternate(
        "growing sessions",
        [c for c in agents if c.name != "in-request, 2"],
        lambda c: _long_sessions(bench, c),
        rounds=2,
    )
    await _streams(bench, found)


async def _streams(bench: Bench, found: Sequence[Contender]) -> None:
    ours = [contender for contender in found if isinstance(contender, Ours)]
    for kind in (LONG, STREAMED) * 2:
        turn = partial(bench.many_clients, clients=30, messages=2, kind=kind)
        await _alternate(f"30 clients, {kind}reply", ours, turn, rounds=1)


async def _long_sessions(bench: Bench, contender: Contender) -> None:
    for items in (10, 1000):
        await bench.long_session(contender, items=items, messages=5)


async def _warm_up(found: Sequence[Contender]) -> None:
    discarded = Bench(Results(), helpers=[])
    for contender in found:
        await discarded.many_clients(contender, clients=10, messages=3)


if __name__ == "__main__":
    main()
