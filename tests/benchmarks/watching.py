"""Clients who watch messages that do not end while others talk: what do they cost the others?"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from tests.benchmarks.client import Connection
from tests.benchmarks.contenders import Contender
from tests.benchmarks.prompts import ENDLESS_PROMPT
from tests.benchmarks.scenarios import Bench

_MESSAGES = 100  # as many unfinished ones as a session may have


async def watched(
    bench: Bench, contender: Contender, *, watchers: int, clients: int, messages: int
) -> None:
    """Let clients talk while so many others watch; each of those must hear of the end."""
    measuring = replace(bench, prefix=f"{watchers} watchers ")
    async with _watching(contender, watchers) as untold:
        await measuring.many_clients(contender, clients=clients, messages=messages)
    bench.results.faults += [f"{contender.name}: a watcher heard last: {last}" for last in untold]


@asynccontextmanager
async def _watching(contender: Contender, watchers: int) -> AsyncIterator[list[str]]:
    """Let clients watch the messages of one session; what is given names who missed its end."""
    untold: list[str] = []
    async with AsyncExitStack() as stack:
        (conversation,) = await contender.begin(1)
        async with Connection(contender.port) as control:
            count = min(watchers, _MESSAGES)
            paths = [await _queued(control, conversation.path) for _ in range(count)]
        streams = []
        for number in range(watchers):
            stream = await stack.enter_async_context(Connection(contender.port))
            path = f"{paths[number % len(paths)]}/events"
            assert await stream.ask("GET", path, accept="text/event-stream") == 200
            streams.append(stream)
        yield untold
        async with Connection(contender.port) as control:  # the first was idle for too long
            await control.ask("DELETE", conversation.path.removesuffix("/messages"))
            await control.rest()
        told = await asyncio.gather(*(stream.rest() for stream in streams))
        last = [events.rpartition(b"event: ")[2].partition(b"\n")[0].decode() for events in told]
        untold += [kind for kind in last if kind != "cancelled"]


async def _queued(connection: Connection, path: str) -> str:
    """Send a message that does not end, and return its path without waiting."""
    status = await connection.ask("POST", path, {"prompt": ENDLESS_PROMPT}, prefer="respond-async")
    body = await connection.rest()
    assert status == 202, body
    return f"/messages/{json.loads(body)['message_id']}"
