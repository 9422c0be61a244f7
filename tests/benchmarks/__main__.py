"""`python -m tests.benchmarks [--quick] [--out FILE] [--costs FILE]`: measure, print, end."""

import argparse
import asyncio
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.collector import tune_gc
from tests.benchmarks import plan, report
from tests.benchmarks.costs import Costs
from tests.benchmarks.results import Results
from tests.benchmarks.scenarios import Bench
from tests.benchmarks.stage import Stage
from tests.benchmarks.usage import require_proc

_LIMIT_S = 3600


def main() -> None:
    """Measure all contenders by turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="the ratios alone, in minutes")
    parser.add_argument("--out", type=Path, help="write every sample to this file, as JSON")
    parser.add_argument("--costs", type=Path, help="write what docs/capacity.md is computed from")
    options = parser.parse_args()
    if options.quick and options.costs:
        parser.error("--quick does not measure what --costs writes")
    require_proc()
    _allow_open_files()
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
    if options.costs:
        Costs.of(results, at=f"{datetime.now(UTC):%Y-%m-%d}", on=_host()).write(options.costs)
    sys.exit(any(fault.startswith(("ours", "embedded")) for fault in results.faults))


def _allow_open_files() -> None:
    """Let this process and what it starts open a file for each of thousands of clients."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _host() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def _run(stack: ExitStack, folder: Path, results: Results, *, quick: bool) -> list[str]:
    stage = Stage.opened(stack, folder, results)
    found = stage.contenders(quick=quick)
    for contender in found:
        stage.start(stack, contender)
    bench = Bench(results, helpers=[os.getpid(), stage.stub._process.pid])
    tune_gc()  # what this process stands still would be measured as their latency
    work = plan.quick(bench, found) if quick else plan.full(bench, found, stage)
    with asyncio.Runner() as runner:
        runner.run(_bounded(work, results))
    return [contender.name for contender in found]


async def _bounded(work: Coroutine[None, None, None], results: Results) -> None:
    own = asyncio.current_task()
    assert own
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, own.cancel)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await work
    except (TimeoutError, asyncio.CancelledError):
        results.faults.append(f"ours: ended early, by a signal or after {_LIMIT_S} s")
    except Exception as error:  # noqa: BLE001 -- what was measured so far is printed
        traceback.print_exc()
        results.faults.append(f"ours: ended early: {error!r}")


if __name__ == "__main__":
    main()
