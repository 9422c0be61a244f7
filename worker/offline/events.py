"""A finished response as the stream of events that the Responses API would have sent."""

from collections.abc import Iterator
from itertools import count

from agents.items import TResponseStreamEvent
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseInProgressEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)

_PIECE = 24


def stream_events(response: Response) -> Iterator[TResponseStreamEvent]:
    """Yield the events of a response, numbered, its text in several pieces."""
    numbers = count()
    for event in _events(response):
        event.sequence_number = next(numbers)
        yield event


def _events(response: Response) -> Iterator[TResponseStreamEvent]:
    begun = response.model_copy(update={"output": [], "status": "in_progress", "usage": None})
    yield ResponseCreatedEvent(type="response.created", response=begun, sequence_number=0)
    yield ResponseInProgressEvent(type="response.in_progress", response=begun, sequence_number=0)
    for index, item in enumerate(response.output):
        match item:
            case ResponseOutputMessage():
                yield from _message_events(item, index)
            case ResponseFunctionToolCall():
                yield from _call_events(item, index)
    yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)


def _message_events(item: ResponseOutputMessage, index: int) -> Iterator[TResponseStreamEvent]:
    empty = item.model_copy(update={"content": [], "status": "in_progress"})
    yield ResponseOutputItemAddedEvent(
        type="response.output_item.added", item=empty, output_index=index, sequence_number=0
    )
    for place, part in enumerate(item.content):
        if isinstance(part, ResponseOutputText):
            yield from _text_events(part, item.id, index, place)
    yield ResponseOutputItemDoneEvent(
        type="response.output_item.done", item=item, output_index=index, sequence_number=0
    )


def _text_events(
    part: ResponseOutputText, item_id: str, index: int, place: int
) -> Iterator[TResponseStreamEvent]:
    yield ResponseContentPartAddedEvent(
        type="response.content_part.added",
        item_id=item_id,
        output_index=index,
        content_index=place,
        part=part.model_copy(update={"text": ""}),
        sequence_number=0,
    )
    for piece in _pieces(part.text):
        yield ResponseTextDeltaEvent(
            type="response.output_text.delta",
            item_id=item_id,
            output_index=index,
            content_index=place,
            delta=piece,
            logprobs=[],
            sequence_number=0,
        )
    yield ResponseTextDoneEvent(
        type="response.output_text.done",
        item_id=item_id,
        output_index=index,
        content_index=place,
        text=part.text,
        logprobs=[],
        sequence_number=0,
    )
    yield ResponseContentPartDoneEvent(
        type="response.content_part.done",
        item_id=item_id,
        output_index=index,
        content_index=place,
        part=part,
        sequence_number=0,
    )


def _call_events(item: ResponseFunctionToolCall, index: int) -> Iterator[TResponseStreamEvent]:
    empty = item.model_copy(update={"arguments": "", "status": "in_progress"})
    yield ResponseOutputItemAddedEvent(
        type="response.output_item.added", item=empty, output_index=index, sequence_number=0
    )
    for piece in _pieces(item.arguments):
        yield ResponseFunctionCallArgumentsDeltaEvent(
            type="response.function_call_arguments.delta",
            item_id=item.id or "",
            output_index=index,
            delta=piece,
            sequence_number=0,
        )
    yield ResponseFunctionCallArgumentsDoneEvent(
        type="response.function_call_arguments.done",
        item_id=item.id or "",
        output_index=index,
        name=item.name,
        arguments=item.arguments,
        sequence_number=0,
    )
    yield ResponseOutputItemDoneEvent(
        type="response.output_item.done", item=item, output_index=index, sequence_number=0
    )


def _pieces(text: str) -> list[str]:
    return [text[n : n + _PIECE] for n in range(0, len(text), _PIECE)]
