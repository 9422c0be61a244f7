"""An answer asked for as a stream, so that its text can be told while it is written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

from agents import Model, ModelResponse
from agents.usage import Usage, deserialize_usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)

from worker.events import RunEvents
from worker.failures import UnusableAnswer
from worker.model.sse import listening

_END_S = 0.5


async def ask_streaming(
    inner: Model, wrote: Callable[[str], None], /, *args: Any, **kwargs: Any
) -> tuple[Response, Any]:
    """Ask a model, tell its text piece by piece; return the whole response, and as it was sent.

    None was sent by a model that is no server, or that speaks another API than this.

    Raises:
        UnusableAnswer: the stream ended before the response did; and whatever the model raises.
    """
    with listening(wrote) as listener:
        # closed at once when this run is cancelled: the model's server need not write on
        stream: Any = inner.stream_response(*args, **kwargs)
        async with aclosing(stream):
            async for event in stream:
                match event:
                    case ResponseTextDeltaEvent():
                        wrote(event.delta)
                    case ResponseCompletedEvent():
                        await _read_out(stream)
                        return event.response, listener.response
    raise UnusableAnswer


async def _read_out(stream: AsyncIterator[object]) -> None:
    """Read on to the end, which comes soon: then the connection serves the next call."""
    with suppress(Exception):  # the answer is whole, whatever becomes of its connection
        async with asyncio.timeout(_END_S):
            async for _ in stream:
                pass


def as_model_response(response: Response) -> ModelResponse:
    """Make of a streamed response what the model would have returned without a stream."""
    counts = response.usage.model_dump() if response.usage else None
    return ModelResponse(
        output=response.output,
        usage=deserialize_usage({"requests": 1, **counts}) if counts else Usage(),
        response_id=response.id,
        request_id=getattr(response, "_request_id", None),
        raw_usage=counts,
    )


def report_text(answer: ModelResponse, events: RunEvents, call: int) -> None:
    """Report the text of an answer that came in one piece."""
    for item in answer.output:
        if isinstance(item, ResponseOutputMessage):
            for part in item.content:
                if isinstance(part, ResponseOutputText):
                    events.wrote(part.text, call=call)
