"""An answer asked for as a stream, so that its text can be reported while it is written."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

from agents import Model, ModelResponse
from agents.usage import deserialize_usage
from openai import APIError, AsyncStream
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
)
from typing_extensions import override

from worker.failures import UnusableAnswer
from worker.model.answers import check_body, parse_json, status_error
from worker.recorder import RunEvents

_END_S = 0.5


async def ask_streaming(
    inner: Model, wrote: Callable[[str], None], /, *args: Any, **kwargs: Any
) -> Response:
    """Ask a model and report its text piece by piece; return the whole response.

    Raises:
        UnusableAnswer: the stream ended before the response did; and whatever the model raises.
    """
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
    """Return a streamed response as the model would have returned it without a stream."""
    counts = response.usage.model_dump() if response.usage else {}
    return ModelResponse(
        output=response.output,
        usage=deserialize_usage({"requests": 1, **counts}),
        response_id=response.id,
    )


def report_text(answer: ModelResponse, events: RunEvents, call: int) -> None:
    """Report the text of an answer that came in one piece."""
    for item in answer.output:
        if isinstance(item, ResponseOutputMessage):
            for part in item.content:
                if isinstance(part, ResponseOutputText):
                    events.wrote(part.text, call=call)


class _Stream:
    """The events of an answer, which end with an error where the answer is none.

    `ended` gets the body that the stream amounts to: of Responses the response as it was sent, of
    Chat Completions the members that the chunks state here and there.
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
        try:
            async for event in self._read():
                yield event
        except APIError as error:
            if type(error) is not APIError:
                raise
            raise status_error(error.body, self.response) from error  # an error amid the stream

    def _read(self) -> AsyncIterator[Any]:
        raise NotImplementedError

    def _check(self, body: dict[str, Any]) -> None:
        self._ended(body)
        check_body(body, self.response)


class ResponseStream(_Stream):
    """The events of the Responses API that count: the pieces of text, and the end."""

    @override
    async def _read(self) -> AsyncIterator[ResponseStreamEvent]:
        async for event in self._stream:
            match event:
                case {"type": "response.output_text.delta"}:
                    yield ResponseTextDeltaEvent.construct(**event)
                case {"type": "response.completed" | "response.failed" | "response.incomplete"}:
                    self._check(_plain(event.get("response")))
                    # the SDK would choke on a strange usage
                    response = event["response"] | {"usage": None}
                    yield ResponseCompletedEvent.construct(**event | {"response": response})
                case {"type": "error" | "response.error"}:
                    raise status_error(event, self.response)


class ChunkStream(_Stream):
    """The chunks of Chat Completions."""

    @override
    async def _read(self) -> AsyncIterator[ChatCompletionChunk]:
        said: dict[str, Any] = {}
        async for chunk in self._stream:
            _note(chunk, said)
            yield chunk
        if said:
            self._check(said)


def _note(chunk: Any, said: dict[str, Any]) -> None:
    """Note the members of a chunk that belong to the whole answer."""
    for name in ("id", "model"):
        if value := getattr(chunk, name, None):
            said.setdefault(name, value)
    if (usage := getattr(chunk, "usage", None)) is not None:
        said["usage"] = _plain(usage)
        chunk.usage = None
    for choice in chunk.choices or ():
        if choice.index in {0, None} and choice.finish_reason:
            said["choices"] = [{"finish_reason": choice.finish_reason}]


def _plain(value: Any) -> Any:
    plain = value.to_dict(warnings=False) if hasattr(value, "to_dict") else value
    return parse_json(json.dumps(plain, default=str))
