"""The stream of a model's server, read for what counts: the text and the whole response.

The client would build an object of each of its events, most of which say again what the last one
says: that is four fifths of what a streamed answer costs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from openai._streaming import ServerSentEvent, SSEDecoder
from typing_extensions import override

_GATHER_S = 0.05
_AT_HAND_S = 0.001
_KEPT = frozenset(
    {
        b"response.output_text.delta",
        b"response.completed",
        b"response.failed",
        b"response.incomplete",
        b"response.error",
        b"error",
    }
)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text as it comes: for the client's own class a validator is run."""

    delta: str
    type: str = "response.output_text.delta"


class LeanDecoder(SSEDecoder):
    """Gives the events that count; of another API, whose events have no names, all."""

    @override
    async def aiter_bytes(self, iterator: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent]:
        rest = b""
        async for chunk in _gathered(iterator):
            rest += chunk
            if b"\r" in rest:
                rest = rest.replace(b"\r\n", b"\n")
            if b"\n\n" in rest:
                *blocks, rest = rest.split(b"\n\n")
                for event in _events(blocks):
                    yield event
        for event in _events([rest]):
            yield event


async def _gathered(iterator: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read what has come, then let more come: a read costs as much as ten events in it."""
    while True:
        asked = time.monotonic()
        chunk = await anext(iterator, None)
        if chunk is None:
            return
        waited = time.monotonic() - asked > _AT_HAND_S
        yield chunk
        if waited:  # for the network: nothing else had come
            await asyncio.sleep(_GATHER_S)


def _events(blocks: list[bytes]) -> Iterator[ServerSentEvent]:
    for block in blocks:
        name, data = b"", []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"event":
                name = value.strip()
            elif field == b"data":
                data.append(value.removeprefix(b" "))
        if data and (not name or name in _KEPT):
            yield ServerSentEvent(event=name.decode() or None, data=b"\n".join(data).decode())
