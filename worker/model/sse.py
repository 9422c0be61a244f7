"""The stream of a model's server, read for what counts: the text and the whole response.

The client would build an object of each of its events, most of which say again what the last one
says: that is four fifths of what a streamed answer costs. So who listens is told the text here.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx2
from openai._streaming import ServerSentEvent, SSEDecoder
from typing_extensions import override

_GATHER_S = 0.1
_AT_HAND_S = 0.001
_TEXT = b"response.output_text.delta"
_COMPLETED = b"response.completed"
_KEPT = frozenset(
    {
        _TEXT,
        _COMPLETED,
        b"response.failed",
        b"response.incomplete",
        b"response.error",
        b"error",
    }
)


@dataclass
class Listener:
    """Is told an answer's text as it comes; has, at its end, the `response` as it was sent."""

    wrote: Callable[[str], None]
    response: Any = None
    source: Any = None

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Leave in the kernel what comes meanwhile: ten pieces then cost one waking of the loop."""
        connection = self.source and self.source.connection
        transport = connection and connection.transport
        if transport and not transport.is_closing():
            transport.pause_reading()
        try:
            yield
        finally:
            if transport and not transport.is_closing():
                transport.resume_reading()


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(wrote: Callable[[str], None]) -> Iterator[Listener]:
    """Listen to the answers that are asked for meanwhile."""
    listener = Listener(wrote)
    token = _LISTENER.set(listener)
    try:
        yield listener
    finally:
        _LISTENER.reset(token)


async def listen_to(response: httpx2.Response) -> None:
    """Let who listens rest from a response's connection; a `response` hook of the HTTP client."""
    if listener := _LISTENER.get():
        # of no client but aiohttp's; there is no public way from a response to its connection
        listener.source = getattr(
            getattr(response.stream, "_stream", None), "_aiohttp_response", None
        )


class LeanDecoder(SSEDecoder):
    """Gives the events that count; of another API, whose events have no names, all.

    To a listener the text is told, and no event of it is given.
    """

    def __init__(self) -> None:
        super().__init__()
        self._listener = _LISTENER.get()
        self._whole = False

    @override
    async def aiter_bytes(self, iterator: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent]:
        rest = b""
        async for chunk in self._gathered(iterator):
            rest += chunk
            if b"\r" in rest:
                rest = rest.replace(b"\r\n", b"\n")
            if b"\n\n" in rest:
                *blocks, rest = rest.split(b"\n\n")
                for event in self._events(blocks):
                    yield event
        for event in self._events([rest]):
            yield event

    def _events(self, blocks: list[bytes]) -> Iterator[ServerSentEvent]:
        for block in blocks:
            name, data = _parsed(block)
            if not data or (name and name not in _KEPT):
                continue
            if self._listener and name == _TEXT:
                self._listener.wrote(json.loads(data)["delta"])
                continue
            self._whole = name == _COMPLETED
            if self._listener and self._whole:
                self._listener.response = json.loads(data)["response"]
            yield ServerSentEvent(event=name.decode() or None, data=data.decode())

    async def _gathered(self, iterator: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Read what has come, then let more come: a read costs as much as ten events in it."""
        while True:
            asked = time.monotonic()
            chunk = await anext(iterator, None)
            if chunk is None:
                return
            waited = time.monotonic() - asked > _AT_HAND_S
            yield chunk
            if waited and not self._whole:  # for the network: nothing else had come
                with self._listener.at_rest() if self._listener else nullcontext():
                    await asyncio.sleep(_GATHER_S)


def _parsed(block: bytes) -> tuple[bytes, bytes]:
    """Return an event's name and data."""
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.strip()
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return name, b"\n".join(data)
