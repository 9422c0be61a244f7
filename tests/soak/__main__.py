"""`python -m tests.soak --minutes 30 --workers 3`: the compose deployment under load, and harmed.

It is started as docs/deployment.md says, on a free port, with a stub for the model. Callers send at
a fixed rate, whatever comes back; meanwhile workers are killed, the API crashes, deploy/upgrade.sh
replaces everything and Redis restarts. In the end every accepted message must have ended, once, in
order, with the right history, as its caller was told. It needs `docker compose`; all is taken down.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine

import httpx2

from tests.faults.invariants import read_record
from tests.soak.deployment import Deployment
from tests.soak.harm import Harms
from tests.soak.load import Load
from tests.soak.logs import Logs
from tests.soak.memory import Memory
from tests.soak.report import table, write
from tests.soak.verdict import Options, Soaked, figures, wrong

_TIMEOUT_S = 90
_LAST_LINES_S = 2


def main() -> None:
    """Soak; exit with 1 when an invariant is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=15, help="messages a second")
    parser.add_argument("--evidence", action="store_true", help="write the figures")
    chosen = parser.parse_args()
    options = Options(chosen.minutes, chosen.workers, chosen.rate)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Deployment(options.workers) as deployment:
            soaked = asyncio.run(_soak(deployment, options))
    except KeyboardInterrupt:
        sys.exit("stopped, and everything is taken down")
    found = wrong(soaked)
    told = figures(soaked, found)
    for sentence in found:
        print(f"\nVIOLATION: {sentence}")
    print(f"\n{table(told)}")
    if chosen.evidence:
        command = f"--minutes {options.minutes:g} --workers {options.workers}"
        write(told, f"python -m tests.soak {command} --rate {options.rate:g}")
    sys.exit(1 if found else 0)


async def _soak(deployment: Deployment, options: Options) -> Soaked:
    print(f"starting {deployment.name} with {options.workers} workers", flush=True)
    await deployment.start()
    logs, limits = Logs(), httpx2.Limits(max_connections=None)
    async with (
        httpx2.AsyncClient(
            base_url=deployment.url, trust_env=False, timeout=_TIMEOUT_S, limits=limits
        ) as http,
        _beside(logs.follow(await deployment.follow_logs())),
    ):
        load, harms = Load(http, options.rate), Harms(deployment)
        await load.open()
        began, seconds, memory = time.time(), options.minutes * 60, Memory()
        print(f"{options.rate:g} messages/s to {deployment.url}", flush=True)
        async with _beside(memory.watch(deployment)), asyncio.TaskGroup() as group:
            group.create_task(load.run(seconds))
            group.create_task(harms.run(seconds))
        await asyncio.sleep(_LAST_LINES_S)
        images, url = await deployment.image_mb(), await deployment.database_url()
    record = await asyncio.to_thread(read_record, url)
    return Soaked(options, began, load.asked, harms.done, memory, logs, images, record)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Let something run meanwhile, and be heard if it breaks."""
    task = asyncio.create_task(work)
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    main()
