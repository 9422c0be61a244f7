"""An answer asked for as a stream, so that its text can be told while it is written.

The client would build an object of each event of the stream, most of which say again what the last
one says: that is four fifths of what a streamed answer costs. So a listener is told the text here.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx2
from agents import Model, ModelResponse
from agents.usage import deserialize_usage
from openai import APIError, AsyncStream
from openai._streaming import ServerSentEvent, SSEDecoder
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)
from typing_extensions import override

from worker.failures import UnusableAnswer
from worker.model.answers import check_body, parse_json, status_error
from worker.recorder import RunEvents

_END_S = 0.5
_GATHER_S = 0.1
_AT_HAND_S = 0.001
_TEXT = b"response.output_text.delta"
_LAST = frozenset({b"response.completed", b"response.failed", b"response.incomplete"})
_KEPT = frozenset({_TEXT, *_LAST, b"response.error", b"error"})


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


async def ask_streaming(
    inner: Model, wrote: Callable[[str], None], /, *args: Any, **kwargs: Any
) -> Response:
    """Ask a model and tell its text piece by piece; return the whole response.

    Raises:
        UnusableAnswer: the stream ended before the response did; and whatever the model raises.
    """
    with listening(wrote):
        # closed at once when this run is cancelled: the model's server need not write on
        stream: Any = inner.stream_response(*args, **kwargs)
        async with aclosing(stream):
            async for event in stream:
                match event:
                    case ResponseTextDeltaEvent():
                        wrote(event.delta)
                    case ResponseCompletedEvent():
                        await _read_out(stream)
                        return event.response
    raise UnusableAnswer


async def _read_out(stream: AsyncIterator[object]) -> None:
    """Read on to the end, which comes soon: then the connection serves the next call."""
    with suppress(Exception):  # the answer is whole, whatever becomes of its connection
        async with asyncio.timeout(_END_S):
            async for _ in stream:
                pass


def as_model_response(response: Response) -> ModelResponse:
    """Make of a streamed response what the model would have returned without a stream."""
    counts = response.usage.model_dump() if response.usage else {}
    return ModelResponse(
        output=response.output,
        usage=deserialize_usage({"requests": 1, **counts}),
        response_id=response.id,
        request_id=getattr(response, "_request_id", None),
    )


def report_text(answer: ModelResponse, events: RunEvents, call: int) -> None:
    """Report the text of an answer that came in one piece."""
    for item in answer.output:
        if isinstance(item, ResponseOutputMessage):
            for part in item.content:
                if isinstance(part, ResponseOutputText):
                    events.wrote(part.text, call=call)


class CheckedStream:
    """The events of an answer, which end with an error where the answer is none.

    `ended` gets what the server said of the whole answer: of Responses the response as it was sent,
    of Chat Completions, whose chunks say it here and there, what they said.
    """

    def __init__(self, stream: AsyncStream[Any], ended: Callable[[dict[str, Any]], None]) -> None:
        self.response = stream.response
        self._stream = stream
        self._ended = ended
        self._events = self._checked()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Close the connection, unless it was read to its end."""
        await self._stream.close()

    async def _checked(self) -> AsyncIterator[Any]:
        said: dict[str, Any] = {}
        try:
            async for event in self._stream:
                match getattr(event, "type", None):
                    case "response.completed" | "response.failed" | "response.incomplete":
                        self._check(_sent(event))
                        event.response.usage = None  # the SDK would choke on a strange one
                    case "error" | "response.error":
                        raise status_error(event.to_dict(warnings=False), self.response)
                    case None:
                        _note(event, said)
                yield event
        except APIError as error:
            if type(error) is not APIError:
                raise
            raise status_error(error.body, self.response) from error  # an error amid the stream
        if said:
            self._check(said)

    def _check(self, body: dict[str, Any]) -> None:
        self._ended(body)
        check_body(body, self.response)


def _sent(event: Any) -> dict[str, Any]:
    listener = _LISTENER.get()
    sent: dict[str, Any] = (listener and listener.response) or event.response.to_dict(
        mode="json", warnings=False
    )
    return sent


def _note(chunk: Any, said: dict[str, Any]) -> None:
    """Note what a chunk says of the whole answer."""
    for name in ("id", "model"):
        if value := getattr(chunk, name, None):
            said.setdefault(name, value)
    if (usage := getattr(chunk, "usage", None)) is not None:
        said["usage"] = _as_json(usage)
        chunk.usage = None
    for choice in chunk.choices or ():
        if choice.index in {0, None} and choice.finish_reason:
            said["choices"] = [{"finish_reason": choice.finish_reason}]


def _as_json(value: Any) -> Any:
    told = value.to_dict(warnings=False) if hasattr(value, "to_dict") else value
    return parse_json(json.dumps(told, default=str))


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
            self._whole = name in _LAST
            if self._listener and self._whole:
                self._listener.response = parse_json(data)["response"]
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
    """Return an event's name and data; what is no stream, but JSON, is one event."""
    if block.lstrip().startswith(b"{"):
        return b"", block
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.strip()
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return name, b"\n".join(data)
