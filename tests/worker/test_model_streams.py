"""A model's stream: what comes after the answer changes nothing."""

import asyncio
from collections.abc import AsyncIterator

from agents import Model
from openai.types.responses import Response, ResponseCompletedEvent

from worker.model.streaming import ask_streaming

_ANSWER = Response(
    id="resp_1",
    created_at=0,
    model="stub",
    object="response",
    output=[],
    parallel_tool_calls=False,
    tool_choice="auto",
    tools=[],
)


class Lingering:
    """A model whose stream stays open after its answer."""

    def __init__(self, after: BaseException | None = None) -> None:
        self._after = after
        self.closed = False

    async def stream_response(self) -> AsyncIterator[ResponseCompletedEvent]:
        try:
            yield ResponseCompletedEvent(
                type="response.completed", response=_ANSWER, sequence_number=1
            )
            if self._after:
                raise self._after
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def ask(model: Lingering) -> Response:
    inner: Model = model  # type: ignore[assignment]
    async with asyncio.timeout(5):
        return await ask_streaming(inner, lambda _: None)


async def test_a_stream_that_stays_open_after_its_answer_does_not_hold_the_run() -> None:
    model = Lingering()
    assert await ask(model) is _ANSWER
    assert model.closed


async def test_a_connection_that_breaks_after_the_answer_loses_nothing() -> None:
    model = Lingering(after=ConnectionResetError())
    assert await ask(model) is _ANSWER
