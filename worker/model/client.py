"""Which model answers, over which client, and when its calls are tried again."""

import random
from contextlib import suppress
from functools import cache, cached_property
from hashlib import scrypt
from typing import Any, cast

import httpx2
from agents import Model, ModelRetrySettings
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from agents.models.openai_responses import OpenAIResponsesModel
from agents.retry import ModelRetryBackoffSettings, RetryDecision, RetryPolicyContext
from aiohttp import ServerTimeoutError
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AsyncStream,
    DefaultAioHttpClient,
    omit,
)
from openai._models import FinalRequestOptions
from openai._streaming import SSEDecoder
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.resources.responses import AsyncResponses
from openai.types.responses import ResponseCompletedEvent
from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import override

from shared.settings import OFFLINE, Settings
from shared.workflow.checker import CodeChecker
from worker.failures import QUOTA, ModelUnavailable
from worker.memory.history import Maker, first
from worker.model.recording import (
    ModelCall,
    RecordingModel,
    ServerModel,
    answered,
    asked,
    hand_over,
    stream_ended,
)
from worker.model.streaming import CheckedStream, LeanDecoder, listen_to
from worker.offline import OfflineModel
from worker.tracing import hand_on_trace

__all__ = ["ModelCall", "Models", "RecordingModel", "retry_settings"]

_OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "unused"  # the client insists on a key, local servers do not look at it
_CONNECT_TIMEOUT_S = 10.0
_LONGEST_RETRY_AFTER_S = 30.0
_PASSING_STATUSES = frozenset({408, 429, *range(500, 600)})


class _PlainResponses(AsyncResponses):
    """Sends `input` and `tools` as they are, after what the model remembers.

    They are plain JSON already. The client would walk through each item to rename what needs no
    renaming: with ten turns that is most of what a run costs.
    """

    # without it the SDK streams by `create`, too
    with_streaming_response = None  # type: ignore[assignment]

    @override
    async def create(self, **params: Any) -> Any:
        plain = {name: params.pop(name) for name in ("input", "tools") if name in params}
        sent = {name: value for name, value in plain.items() if value is not omit}
        sent["input"] = [*first(), *sent.get("input", [])]
        body = {**sent, **(params.pop("extra_body", None) or {})}
        return _checked(await super().create(**params, extra_body=body))


class _Completions(AsyncCompletions):
    """Checks what a server answers before the SDK makes something of it."""

    @override
    async def create(self, **params: Any) -> Any:
        return _checked(await super().create(**params))


class _Chat(AsyncChat):
    @cached_property
    @override
    def completions(self) -> AsyncCompletions:
        return _Completions(self._client)


def _checked(answer: Any) -> Any:
    if isinstance(answer, AsyncStream):
        return CheckedStream(answer, stream_ended)
    answered(answer)
    return answer


class _Client(AsyncOpenAI):
    """The OpenAI client, with the above, and with cheap streams."""

    @override
    async def _prepare_options(self, options: FinalRequestOptions) -> FinalRequestOptions:
        # here the body is not text yet: to read that takes as long as to write it
        body = {**cast("dict[str, Any]", options.json_data or {}), **(options.extra_json or {})}
        asked(body)
        if body:
            with suppress(PydanticSerializationError):  # the client writes it, or says why not
                plain = to_json(body, inf_nan_mode="null")
                options.json_data, options.extra_json = plain, None
        return options

    @cached_property
    @override
    def responses(self) -> AsyncResponses:
        return _PlainResponses(self)

    @cached_property
    @override
    def chat(self) -> AsyncChat:
        return _Chat(self)

    @override
    def _make_sse_decoder(self) -> SSEDecoder:
        return LeanDecoder()

    @override
    def _process_response_data(self, *, data: Any, cast_to: Any, response: Any) -> Any:
        # said by its name, it need not be tried against fifty kinds of events
        if isinstance(data, dict) and data.get("type") == "response.completed":
            cast_to = ResponseCompletedEvent
        return super()._process_response_data(data=data, cast_to=cast_to, response=response)


class _Connections(DefaultAioHttpClient):
    """The client's connections, which say of themselves what became of them."""

    @override
    async def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        try:
            return await super().send(request, **how)
        except httpx2.ConnectTimeout as error:  # its name for each connection that breaks
            if isinstance(error.__cause__, ServerTimeoutError):
                raise
            raise httpx2.ConnectError(str(error)) from error


class Models:
    """The models of one event loop, over one HTTP client."""

    def __init__(self, settings: Settings, checker: CodeChecker) -> None:
        self._settings = settings
        self._checker = checker
        self._client: AsyncOpenAI | None = None
        self._models: dict[str, Model] = {}

    def get(self, name: str, *, owner: str) -> Model:
        """Return a model by its name; raise ModelUnavailable if it needs a server and has none.

        The offline model reads code in the turn of the project's `owner`.
        """
        if name == OFFLINE:
            return OfflineModel(self._checker, owner=owner)
        if name not in self._models:
            self._models[name] = self._remote(name)
        return self._models[name]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.close()

    def _remote(self, name: str) -> Model:
        self._client = self._client or _client(self._settings)
        maker = Maker(name, self._settings.model_api, _account(self._settings))
        match self._settings.model_api:
            case "responses":
                return _ResponsesModel(name, self._client, maker)
            case "chat_completions":
                return _ChatModel(name, self._client, maker)


class _ResponsesModel(OpenAIResponsesModel, ServerModel):
    def __init__(self, name: str, client: AsyncOpenAI, maker: Maker) -> None:
        super().__init__(name, client)
        self.maker = maker


class _ChatModel(OpenAIChatCompletionsModel, ServerModel):
    """Gets back each `reasoning_content` in its history: that of other models is left out of it."""

    def __init__(self, name: str, client: AsyncOpenAI, maker: Maker) -> None:
        super().__init__(name, client, should_replay_reasoning_content=lambda _: True)
        self.maker = maker


@cache
def _account(settings: Settings) -> str:
    """Name a server and a key, without saying what they are: clients see it in the items."""
    key = settings.openai_api_key
    secret = key.get_secret_value().encode() if key else b""
    url = (settings.openai_base_url or _OPENAI_URL).rstrip("/").encode()
    # slow, so that not even a short key can be guessed from it
    return scrypt(secret, salt=url, n=2**14, r=8, p=1, dklen=8).hex()


def _client(settings: Settings) -> AsyncOpenAI:
    key, url = settings.openai_api_key, settings.openai_base_url
    if not key and not url:
        raise ModelUnavailable
    http = _Connections(
        event_hooks={"request": [hand_on_trace], "response": [hand_over, listen_to]},
        follow_redirects=False,  # a redirect would carry the prompt to another host
        timeout=httpx2.Timeout(settings.model_timeout_s, connect=_CONNECT_TIMEOUT_S),
        limits=httpx2.Limits(max_connections=settings.worker_concurrency),
    )
    return _Client(
        api_key=key.get_secret_value() if key else _NO_KEY,
        base_url=url or _OPENAI_URL,
        max_retries=0,  # retry_settings does it, where each try is recorded
        http_client=http,
    )


def retry_settings(settings: Settings) -> ModelRetrySettings:
    """Return when a model call is tried again: after what passes by itself, and not for long."""
    return ModelRetrySettings(
        max_retries=settings.model_retries,
        backoff=ModelRetryBackoffSettings(
            initial_delay=0.5, multiplier=2, max_delay=8, jitter=True
        ),
        policy=_retry,
    )


def _retry(context: RetryPolicyContext) -> bool | RetryDecision:
    advice = context.provider_advice
    if advice and advice.suggested is False:  # the server said so: x-should-retry
        return False
    match context.error:
        case APIStatusError(code=code, status_code=status):
            if code == QUOTA or status not in _PASSING_STATUSES:
                return False
            return _retry_when_told(context.normalized.retry_after)
        case APITimeoutError(__cause__=cause):
            # A server that took the request may still be working on it: that is a timeout.
            return isinstance(cause, httpx2.ConnectTimeout | httpx2.PoolTimeout)
        case httpx2.TimeoutException():
            return False
        case APIConnectionError() | httpx2.TransportError():
            return True
        case _:
            return False


def _retry_when_told(seconds: float | None) -> bool | RetryDecision:
    if seconds is None:
        return True
    if seconds > _LONGEST_RETRY_AFTER_S:
        return False
    # Runs that were refused together were told the same moment: spread them after it.
    return RetryDecision(retry=True, delay=seconds * random.uniform(1, 1.25))  # noqa: S311  # nosec B311
