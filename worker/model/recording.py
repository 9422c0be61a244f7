"""A model that records its calls, gives them the conversation's history, and checks the answers.

The client gives the request and the response to the call under way through a context variable, so
calls at the same time do not mix.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
from agents import Model, ModelResponse, ModelTimeoutError, Usage, generation_span
from agents.exceptions import ModelBehaviorError, ModelRefusalError
from agents.items import TResponseStreamEvent
from agents.models.fake_id import FAKE_RESPONSES_ID
from agents.models.interface import ModelTracing
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from agents.usage import deserialize_usage
from aiohttp import ClientResponseError
from openai import APIConnectionError, APIStatusError, OpenAIError
from openai.types.responses import Response, ResponseFunctionToolCall
from typing_extensions import override

from worker.budgets import Budget
from worker.failures import AnswerTruncated, EmptyAnswer, HistoryRejected, UnusableAnswer
from worker.memory.history import (
    History,
    Maker,
    ids_of_calls,
    prepare,
    sent_before,
)
from worker.metrics import count_call, count_call_error
from worker.model.answers import (
    check_body,
    check_output,
    exact_name,
    make_encodable,
    make_id_unique,
    names_an_item,
    parse_json,
    sign,
    usage_of,
)
from worker.model.streaming import as_model_response, ask_streaming, report_text
from worker.recorder import RunEvents
from worker.tracing import call_ended

_OURS = (OpenAIError, httpx2.TransportError, ModelBehaviorError, ModelRefusalError)
_OF_ANSWERS = (UnusableAnswer, AnswerTruncated, ModelTimeoutError)


@dataclass(frozen=True)
class ModelCall:
    """One call of a model, as it went; `number` counts from 1 within the attempt.

    `request` is the body that it got, without the conversation, which the session's items are;
    `raw` is the body that the server sent (None if it was an error or no JSON), for models
    without a server what they returned. `error` is the kind of error, without its words. `usage`
    is None if nobody knows it.
    """

    number: int
    model: str
    response_id: str | None
    request_id: str | None
    request: dict[str, Any] | None
    usage: dict[str, Any] | None
    raw: Any
    error: str | None
    started_at: float
    ended_at: float


class ServerModel(Model):
    """A model behind a server; `maker` names it in the items that it makes."""

    maker: Maker


@dataclass
class _Exchange:
    started_at: float = field(default_factory=time.time)
    request: dict[str, Any] | None = None
    response: httpx2.Response | None = None
    body: Any = None
    """What the server sent, whole or as far as it counts."""
    request_id: str | None = None
    streamed: bool = False


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


def answered(answer: Any) -> None:
    """Check an answer that came in one piece, before the SDK reads it."""
    exchange = _EXCHANGE.get()
    if exchange and exchange.response is not None:
        exchange.body = body_of(exchange.response)
        check_body(exchange.body, exchange.response)
        answer.usage = None  # the SDK would choke on a strange one; it is read from the body


def stream_ended(body: dict[str, Any]) -> None:
    """Give the call that is made now the body that its stream amounts to."""
    if exchange := _EXCHANGE.get():
        exchange.body = body


class RecordingModel(Model):
    """A model that records its calls for one attempt, failed and repeated ones included.

    It puts the conversation's history before the run's own items. While somebody watches, it asks
    for the answer as a stream and reports the text as it comes; `timeout_s` then bounds silence,
    else the whole call.
    """

    def __init__(
        self,
        inner: Model,
        *,
        name: str,
        events: RunEvents | None = None,
        budget: Budget | None = None,
        history: History | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.calls: list[ModelCall] = []
        self._budget = budget
        self._events = events
        self._history = history or History()
        self._inner = inner
        self._name = name
        self._timeout_s = timeout_s
        self._maker = inner.maker if isinstance(inner, ServerModel) else None
        self._forgotten = False
        """The server knows nothing of the items' ids, or refuses one: they go without."""
        self._before: list[dict[str, Any]] | None = None
        self._call_ids: set[str] | None = None

    @override
    async def get_response(self, system_instructions: str | None, *args: Any, **kwargs: Any) -> Any:
        try:
            return await self._ask_valid(system_instructions, *args, **kwargs)
        except EmptyAnswer:
            return await self._ask_valid(system_instructions, *args, **kwargs)

    async def _ask_valid(
        self,
        instructions: str | None,
        /,
        input: Any,  # noqa: A002 -- the SDK's name
        **kwargs: Any,
    ) -> Any:
        """Ask with the ids and reasoning of the history; if the server refuses them, without."""
        items = input
        try:
            return await self._ask_with_history(instructions, items, **kwargs)
        except APIStatusError as error:
            if not names_an_item(error):
                raise
            if self._forgotten or self._maker is None:
                raise HistoryRejected from error
            sent = self._conversation(items)
            self._forgotten, self._before = True, None
            before, own = self._conversation(items)
            if (before, own) == sent:
                if before:
                    raise HistoryRejected from error
                raise
        try:
            return await self._ask_with_history(instructions, items, **kwargs)
        except APIStatusError as error:
            if names_an_item(error):
                raise HistoryRejected from error
            raise

    def _conversation(self, items: Any) -> tuple[list[dict[str, Any]], Any]:
        """Return the history and the run's own items as the model may get them."""
        if self._before is None:
            self._before = self._prepared_history()
        if self._maker is None or isinstance(items, str):
            return self._before, items
        keeps = self._maker.api == "chat_completions" or not self._forgotten
        return self._before, prepare(items, self._maker if keeps else None)

    def _prepared_history(self) -> list[dict[str, Any]]:
        if not self._forgotten:
            return self._history.for_model(self._maker)
        # a thinking model over Chat Completions refuses calls without their reasoning, which
        # another model's have not
        chat = self._maker is not None and self._maker.api == "chat_completions"
        return self._history.texts() if chat else self._history.for_model(None)

    async def _ask_with_history(
        self, instructions: str | None, items: Any, /, **kwargs: Any
    ) -> Any:
        if self._budget:
            await self._budget.check(self.calls)
        before, own = self._conversation(items)
        if self._maker is not None and self._maker.api == "responses":
            with sent_before(before):
                return await self._recorded(instructions, own, **kwargs)
        if before:
            own = [{"role": "user", "content": own}] if isinstance(own, str) else own
            own = [*before, *own]
        return await self._recorded(instructions, own, **kwargs)

    async def _recorded(self, *args: Any, **kwargs: Any) -> ModelResponse:
        exchange = _Exchange()
        token = _EXCHANGE.set(exchange)
        # one span a call, whichever model it is: the SDK's own models would make another
        with generation_span(model=self._name):
            try:
                answer = await self._answer(
                    exchange, *args, **kwargs | {"tracing": ModelTracing.DISABLED}
                )
            except BaseException as error:
                # The body of an error stays out: it may quote the prompt or a part of the key.
                raw = None if isinstance(error, OpenAIError) else exchange.body
                self._record(exchange, raw, error=kind_of(error))
                raise
            finally:
                _EXCHANGE.reset(token)
            self._record(exchange, exchange.body)
        if self._events and not exchange.streamed:
            report_text(answer, self._events, len(self.calls))
        return answer

    async def _answer(self, exchange: _Exchange, *args: Any, **kwargs: Any) -> ModelResponse:
        try:
            answer = await self._ask(exchange, *args, **kwargs)
            check_output(answer.output)
        except APIConnectionError as error:
            if isinstance(error.__cause__, UnusableAnswer):  # the client's name for any error
                raise error.__cause__ from None
            raise
        except (*_OURS, *_OF_ANSWERS):
            raise
        except ClientResponseError:
            answer = None
        except Exception as error:
            if exchange.response is not None:
                # The client trusts what it gets: garbage ends as any kind of exception in it.
                raise UnusableAnswer from error
            raise
        if answer is None:
            # a broken connection by a name that the HTTP client does not translate; raised here,
            # since the SDK would ask its cause for a `code`, which is deprecated
            raise httpx2.RemoteProtocolError("the framing of the answer is broken")
        if usage := usage_of(exchange.body):
            answer.usage = deserialize_usage(usage)
        self._fit(answer, kwargs["tools"], kwargs.get("handoffs") or ())
        return answer

    def _fit(self, answer: ModelResponse, tools: Sequence[Any], handoffs: Sequence[Any]) -> None:
        """Give an answer a form that the run can use and the next request can carry."""
        make_encodable(answer.output)
        names = [*(tool.name for tool in tools), *(one.tool_name for one in handoffs)]
        for item in answer.output:
            if isinstance(item, ResponseFunctionToolCall):
                item.name = exact_name(item.name, names)
                if self._call_ids is None:
                    self._call_ids = self._history.call_ids() | ids_of_calls(self._before or ())
                make_id_unique(item, self._call_ids)
        if self._maker is not None:
            sign(answer.output, self._maker)

    async def _ask(self, exchange: _Exchange, *args: Any, **kwargs: Any) -> ModelResponse:
        if self._events is None or not self._events.streamed:
            answer = await self._within_time(self._inner.get_response(*args, **kwargs))
            if exchange.response is None:
                exchange.body = dump(answer)
            return answer
        exchange.streamed = True
        # the HTTP client ends the call when nothing came for `timeout_s`
        wrote = partial(self._events.wrote, call=len(self.calls) + 1)
        streamed = await ask_streaming(self._inner, wrote, *args, **kwargs)
        exchange.body = _streamed_body(streamed, exchange.body)
        return as_model_response(streamed)

    async def _within_time(self, asking: Awaitable[ModelResponse]) -> ModelResponse:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                return await asking
        except TimeoutError:
            if limit.expired() and self._timeout_s is not None:
                raise ModelTimeoutError(self._timeout_s) from None
            raise

    @override
    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[TResponseStreamEvent]:
        """Refuse: watching clients get events; the run itself is not streamed."""
        raise NotImplementedError

    @override
    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        return self._inner.get_retry_advice(request)

    @override
    async def close(self) -> None:
        await self._inner.close()

    def _record(self, exchange: _Exchange, raw: Any, *, error: str | None = None) -> None:
        body = raw if isinstance(raw, dict) else {}
        call = ModelCall(
            number=len(self.calls) + 1,
            model=text(body.get("model")) or self._name,
            response_id=None if body.get("id") == FAKE_RESPONSES_ID else text(body.get("id")),
            request_id=exchange.request_id,
            request=exchange.request,
            usage=usage_of(body),
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


def _streamed_body(streamed: Response, said: Any) -> dict[str, Any]:
    """Return a streamed answer as a body; of chunks the SDK's response with their members."""
    if said and "output" in said:
        return dict(said)
    body = streamed.to_dict(mode="json", warnings=False)
    return body | (said or {})


def text(value: object) -> str | None:
    """Return a value that should be a text; None: it is something else."""
    return value if isinstance(value, str) else None


def kind_of(error: BaseException) -> str:
    """Name the kind of an error, without its words."""
    match error:
        case APIStatusError(status_code=status):
            return f"{status} {type(error).__name__}"
        case _:
            return type(error).__name__


def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with the number of the conversation's items instead of the items.

    Stored with each call, a long conversation would take the square of its length.
    """
    items = body.get("input") or body.get("messages") or []
    instructions = [item for item in items if item.get("role") in ("system", "developer")]
    rest = {name: value for name, value in body.items() if name not in ("input", "messages")}
    return rest | {"input": instructions, "input_items": len(items) - len(instructions)}


def body_of(response: httpx2.Response) -> Any:
    """Read the body that the server sent; None: it is no JSON."""
    try:
        return parse_json(response.content)
    except (httpx2.ResponseNotRead, ValueError, RecursionError):
        return None


def dump(answer: ModelResponse) -> dict[str, Any]:
    """Return the answer of a model without a server in the form of a body."""
    return {
        "id": answer.response_id,
        "output": answer.to_input_items(),
        "usage": usage_json(answer.usage),
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """Give the tokens of a call as they are stored."""
    return {
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": usage.input_tokens_details.model_dump(),
        "output_tokens_details": usage.output_tokens_details.model_dump(),
    }
