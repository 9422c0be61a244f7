"""An answer asked for as a stream, so that its text can be told while it is written."""

from contextlib import aclosing
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
from worker.model_sse import TextDelta


async def ask_streaming(
    inner: Model, events: RunEvents, call: int, /, *args: Any, **kwargs: Any
) -> Response:
    """Ask a model, report its text piece by piece, and return the whole response.

    Raises:
        UnusableAnswer: the stream ended before the response did; and whatever the model raises.
    """
    # closed at once when this run is cancelled: the model's server need not write on
    stream: Any = inner.stream_response(*args, **kwargs)
    async with aclosing(stream):
        async for event in stream:
            match event:
                case TextDelta(delta=str(text)) | ResponseTextDeltaEvent(delta=str(text)):
                    events.wrote(text, call=call)
                case ResponseCompletedEvent():
                    return event.response
    raise UnusableAnswer


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
