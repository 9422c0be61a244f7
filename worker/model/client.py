"""The models of a worker, their HTTP client, and the retry policy of their calls."""

import random
from collections.abc import Mapping
from functools import cache, cached_property, partial
from hashlib import scrypt, sha256
from typing import Any
from urllib.parse import urlsplit

import httpx2
from agents import Model, ModelRetrySettings, ModelSettings
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
from openai.resources.chat import AsyncChat, AsyncCompletions
from openai.resources.responses import AsyncResponses
from openai.types.responses import Response
from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import override

from shared.settings import OFFLINE, Settings
from shared.workflow.checker import CodeChecker
from worker.failures import QUOTA, ModelUnavailable
from worker.memory.history import Maker, history_prefix
from worker.model.answer_limit import ACCEPT_ENCODING, limit_answer
from worker.model.answers import encodable
from worker.model.recording import (
    ModelCall,
    RecordingModel,
    ServerModel,
    answered,
    asked,
    hand_over,
    stream_ended,
)
from worker.model.streaming import ChunkStream, ResponseStream
from worker.offline.model import OfflineModel
from worker.tracing import hand_on_trace

__all__ = ["ModelCall", "Models", "RecordingModel", "cache_settings", "retry_settings"]

_OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "unused"  # the client insists on a key, local servers do not look at it
_CONNECT_TIMEOUT_S = 10.0
_LONGEST_RETRY_AFTER_S = 30.0
_NOT_IN_THE_BODY = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})
_PASSING_STATUSES = frozenset({408, 429, *range(500, 600)})


class _Responses(AsyncResponses):
    """Sends a request as it is, with the history before its input, and reads events as JSON.

    The request is plain JSON already. The client would walk through each item to rename members
    that need no renaming, and build an object of each event of a stream: most of a run's CPU.
    """

    # without it the SDK streams by `create`, too
    with_streaming_response = None  # type: ignore[assignment]

    def __init__(self, client: AsyncOpenAI) -> None:
        super().__init__(client)
        self._server = client

    @override
    async def create(self, **params: Any) -> Any:
        body = _body(params)
        body["input"] = [*history_prefix(), *body.get("input", ())]
        asked(body)
        post = partial(
            self._server.post,
            "/responses",
            content=_json(body),
            options={
                "headers": params.get("extra_headers") or {},
                "params": params.get("extra_query") or {},
            },
        )
        if body.get("stream"):
            stream = await post(cast_to=object, stream=True, stream_cls=AsyncStream[object])
            return ResponseStream(stream, stream_ended)
        answer = await post(cast_to=Response)
        answered(answer)
        return answer


class _Completions(AsyncCompletions):
    """Records the request, and checks the answer before the SDK reads it."""

    @override
    async def create(self, **params: Any) -> Any:
        asked(_body(params))
        try:
            answer = await super().create(**params)
        except UnicodeEncodeError:
            answer = await super().create(**encodable(params))
        if isinstance(answer, AsyncStream):
            return ChunkStream(answer, stream_ended)
        answered(answer)
        return answer


class _Chat(AsyncChat):
    def __init__(self, client: AsyncOpenAI) -> None:
        super().__init__(client)
        self._completions = _Completions(client)

    @property
    @override
    def completions(self) -> AsyncCompletions:
        return self._completions


def _body(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that a call with these parameters sends."""
    sent = {
        name: value
        for name, value in params.items()
        if value is not omit and name not in _NOT_IN_THE_BODY
    }
    return sent | (params.get("extra_body") or {})


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return to_json(body, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(encodable(body), inf_nan_mode="null")


class _Client(AsyncOpenAI):
    """The OpenAI client, with the above."""

    @cached_property
    @override
    def responses(self) -> AsyncResponses:
        return _Responses(self)

    @cached_property
    @override
    def chat(self) -> AsyncChat:
        return _Chat(self)


class _Connections(DefaultAioHttpClient):
    """The client's connections, whose errors are named by their cause."""

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
    """Name a server and a key without revealing them: clients see the name in the items."""
    key = settings.openai_api_key
    secret = key.get_secret_value().encode() if key else b""
    url = (settings.openai_base_url or _OPENAI_URL).rstrip("/").encode()
    # slow, so that not even a short key can be guessed from it
    return scrypt(secret, salt=url, n=2**14, r=8, p=1, dklen=8).hex()


def _client(settings: Settings) -> AsyncOpenAI:
    key, url = settings.openai_api_key, settings.openai_base_url
    if not key and not url:
        raise ModelUnavailable
    address = httpx2.URL(url or _OPENAI_URL)
    limited = partial(limit_answer, silence_s=settings.model_timeout_s)
    http = _Connections(
        # the connections refuse an address with a password beside a header with a key
        auth=(address.username, address.password) if address.userinfo else None,
        event_hooks={"request": [hand_on_trace], "response": [hand_over, limited]},
        headers={"Accept-Encoding": ACCEPT_ENCODING},
        follow_redirects=False,  # a redirect would carry the prompt to another host
        timeout=httpx2.Timeout(settings.model_timeout_s, connect=_CONNECT_TIMEOUT_S),
        limits=httpx2.Limits(max_connections=settings.worker_concurrency),
    )
    return _Client(
        api_key=key.get_secret_value() if key else _NO_KEY,
        base_url=address.copy_with(username="", password=""),
        max_retries=0,  # retry_settings does it, where each try is recorded
        http_client=http,
    )


def cache_settings(session_key: str, settings: Settings) -> ModelSettings | None:
    """Let OpenAI cache the beginning of a conversation's prompts; other servers know no key."""
    if urlsplit(settings.openai_base_url or _OPENAI_URL).hostname != "api.openai.com":
        return None
    key = sha256(session_key.encode()).hexdigest()[:32]
    return ModelSettings(extra_args={"prompt_cache_key": key})


def retry_settings(settings: Settings) -> ModelRetrySettings:
    """Return when a model call is tried again: after errors that pass by themselves, and soon."""
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
            return _retry_after(context.normalized.retry_after)
        case APITimeoutError(__cause__=cause):
            # A server that took the request may still be working on it: that is a timeout.
            return isinstance(cause, httpx2.ConnectTimeout | httpx2.PoolTimeout)
        case httpx2.TimeoutException():
            return False
        case APIConnectionError() | httpx2.TransportError():
            return True
        case _:
            return False


def _retry_after(seconds: float | None) -> bool | RetryDecision:
    if seconds is None:
        return True
    if seconds > _LONGEST_RETRY_AFTER_S:
        return False
    # Runs that were refused together got the same moment: spread them after it.
    return RetryDecision(retry=True, delay=seconds * random.uniform(1, 1.25))  # noqa: S311  # nosec B311
