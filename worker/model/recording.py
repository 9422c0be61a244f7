"""The record of a model's calls, with what its server was sent and what it sent.

The client hands both to the call under way through a context variable, so calls at the same time
do not mix.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx2
from agents import Model, ModelResponse, ModelTimeoutError, generation_span
from agents.exceptions import AgentsException
from agents.items import TResponseStreamEvent
from agents.models.fake_id import FAKE_RESPONSES_ID
from agents.models.interface import ModelTracing
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from openai import OpenAIError
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFailedEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
)
from typing_extensions import override

from worker.budgets import Budget
from worker.events import RunEvents
from worker.failures import UnusableAnswer
from worker.memory.history import first, sent_first
from worker.metrics import count_call, count_call_error
from worker.model.answers import check_answer, encodable, readable_arguments
from worker.model.records import (
    ModelCall,
    body_of,
    dump,
    kind_of,
    request_of,
    spent,
    text,
    usage_json,
)
from worker.model.streaming import as_model_response, ask_streaming, report_text
from worker.tracing import call_ended, call_timed_out

_LastEvent = ResponseCompletedEvent | ResponseFailedEvent | ResponseIncompleteEvent
_LAST_EVENTS = (ResponseCompletedEvent, ResponseFailedEvent, ResponseIncompleteEvent)


@dataclass
class _Exchange:
    started_at: float = field(default_factory=time.time)
    request: dict[str, Any] | None = None
    response: httpx2.Response | None = None
    streamed: Response | None = None
    raw: Any = None
    request_id: str | None = None


_EXCHANGE: ContextVar[_Exchange | None] = ContextVar("exchange", default=None)


def asked(body: Mapping[str, Any]) -> None:
    """Give the call that is made now the body of its request."""
    if exchange := _EXCHANGE.get():
        exchange.request = request_of(body)


async def hand_over(response: httpx2.Response) -> None:
    """Give a response to the call that waits for it; a `response` hook of the HTTP client."""
    if exchange := _EXCHANGE.get():
        exchange.response = response
        exchange.request_id = response.headers.get("x-request-id")


class RecordingModel(Model):
    """A model that records its calls for one attempt, failed and repeated ones included.

    While somebody watches, it asks for the answer as a stream and reports the text as it comes.
    """

    def __init__(
        self,
        inner: Model,
        *,
        name: str,
        events: RunEvents | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.calls: list[ModelCall] = []
        self._budget = budget
        self._events = events
        self._inner = inner
        self._name = name

    @override
    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        if self._budget:
            await self._budget.check(self.calls)
        # one span a call, whichever model it is: the SDK's own models would make another
        with generation_span(model=self._name):
            return await self._recorded(*args, **kwargs | {"tracing": ModelTracing.DISABLED})

    async def _recorded(self, *args: Any, **kwargs: Any) -> ModelResponse:
        exchange = _Exchange()
        token = _EXCHANGE.set(exchange)
        try:
            answer = await self._answer(exchange, *args, **kwargs)
        except BaseException as error:
            self._record(exchange, body_of(exchange.response), error=kind_of(error))
            raise
        finally:
            _EXCHANGE.reset(token)
        self._record(exchange, _raw(exchange, answer), usage=usage_json(answer.usage))
        if self._events and not exchange.streamed:
            report_text(answer, self._events, len(self.calls))
        return answer

    async def _answer(self, exchange: _Exchange, *args: Any, **kwargs: Any) -> ModelResponse:
        try:
            answer = await self._ask(exchange, *args, **kwargs)
            check_answer(answer.output, answer.usage.total_tokens)
        except (OpenAIError, AgentsException):
            raise
        except Exception as error:
            if exchange.response:
                # The client trusts what it gets: garbage ends as any kind of exception in it.
                raise UnusableAnswer from error
            raise
        for item in answer.output:
            if isinstance(item, ResponseFunctionToolCall):
                item.arguments = readable_arguments(item.arguments)
        return answer

    async def _ask(self, exchange: _Exchange, *args: Any, **kwargs: Any) -> ModelResponse:
        try:
            return await self._ask_once(exchange, *args, **kwargs)
        except UnicodeEncodeError:
            with sent_first(encodable(list(first()))):
                return await self._ask_once(exchange, *encodable(list(args)), **encodable(kwargs))

    async def _ask_once(self, exchange: _Exchange, *args: Any, **kwargs: Any) -> ModelResponse:
        events = self._events
        if events is None or not events.streamed:
            return await self._inner.get_response(*args, **kwargs)
        wrote = partial(events.wrote, call=len(self.calls) + 1)
        exchange.streamed, exchange.raw = await ask_streaming(self._inner, wrote, *args, **kwargs)
        return as_model_response(exchange.streamed)

    @override
    async def stream_response(
        self, *args: Any, **kwargs: Any
    ) -> AsyncGenerator[TResponseStreamEvent, None]:
        if self._budget:
            await self._budget.check(self.calls)
        exchange, recorded = _Exchange(), False
        error: BaseException = UnusableAnswer()  # unless it ends otherwise
        try:
            async with aclosing(self._ask_streamed(*args, **kwargs)) as events:
                async for event in events:
                    if isinstance(event, _LAST_EVENTS):
                        # Now: who has read the last event may never come back for more.
                        self._record_streamed(exchange, event)
                        recorded = True
                    yield event
        except BaseException as caught:
            error = caught
            raise
        finally:
            if not recorded:
                self._record(exchange, None, error=kind_of(error))

    async def _ask_streamed(
        self, *args: Any, **kwargs: Any
    ) -> AsyncGenerator[TResponseStreamEvent, None]:
        try:
            async for event in self._inner.stream_response(*args, **kwargs):
                yield event
        except UnicodeEncodeError:
            mended = self._inner.stream_response(*encodable(list(args)), **encodable(kwargs))
            async for event in mended:
                yield event

    def _record_streamed(self, exchange: _Exchange, event: _LastEvent) -> None:
        response = event.response
        exchange.request_id = getattr(response, "_request_id", None)
        error = None if isinstance(event, ResponseCompletedEvent) else type(event).__name__
        self._record(exchange, response.to_dict(mode="json"), error=error)
        if not error:
            check_answer(response.output, response.usage.total_tokens if response.usage else 0)

    @override
    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        if self.calls and isinstance(request.error, ModelTimeoutError):
            # The SDK's deadline cancels the call, so it was recorded as cancelled.
            self.calls[-1] = replace(self.calls[-1], error=kind_of(request.error))
            call_timed_out(kind_of(request.error))
            count_call_error(self._name, kind_of(request.error))
        return self._inner.get_retry_advice(request)

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._inner._cleanup_on_run_end(owner)  # noqa: SLF001, the SDK calls it on us

    def _supports_default_prompt_cache_key(self) -> bool:
        # The SDK asks its models by this name whether they take a `prompt_cache_key`.
        ask = getattr(self._inner, "_supports_default_prompt_cache_key", None)
        return bool(ask and ask())

    def _record(
        self,
        exchange: _Exchange,
        raw: Any,
        *,
        usage: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        body = raw if isinstance(raw, dict) else {}
        call = ModelCall(
            number=len(self.calls) + 1,
            model=text(body.get("model")) or self._name,
            response_id=None if body.get("id") == FAKE_RESPONSES_ID else text(body.get("id")),
            request_id=exchange.request_id,
            request=exchange.request,
            usage=usage or spent(body),
            raw=raw,
            error=error,
            started_at=exchange.started_at,
            ended_at=time.time(),
        )
        self.calls.append(call)
        call_ended(call.model, call.usage, call.error)
        count_call(self._name, seconds=call.ended_at - call.started_at, usage=call.usage)
        if error:
            count_call_error(self._name, error)


def _raw(exchange: _Exchange, answer: ModelResponse) -> Any:
    if exchange.response is None:
        return dump(answer)
    if exchange.streamed is not None:
        return exchange.raw or exchange.streamed.to_dict(mode="json")
    return body_of(exchange.response)
