"""The HTTP path to the model: real runs of the Agents SDK against a stub server."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from agents import (
    Agent,
    ModelSettings,
    RunConfig,
    Runner,
    RunResult,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message

from shared.errors import Failure, FailureCode
from shared.settings import Settings
from shared.store.transitions import Claim
from shared.workflow.checker import CodeChecker
from tests.stub_process import StubOpenAI
from tests.stub_replies import VENDOR
from worker.failures import AnswerTruncated, ModelUnavailable, failure_from
from worker.model.client import ModelCall, Models, RecordingModel, retry_settings
from worker.recorder import RunEvents

APIS = ["responses", "chat_completions"]


@pytest.fixture(scope="module")
def stub() -> Iterator[StubOpenAI]:
    with StubOpenAI() as running:
        yield running


class Client:
    """Runs a trivial agent with a fresh RecordingModel, as an attempt does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = Models(settings, CodeChecker())
        self.calls: list[ModelCall] = []

    def agent(self) -> tuple[Agent[None], RecordingModel]:
        model = RecordingModel(
            self.models.get("gpt-test", owner=""),
            name="gpt-test",
            timeout_s=self.settings.model_timeout_s,
        )
        agent = Agent(
            "VibeCoder",
            model=model,
            tools=[add],
            model_settings=ModelSettings(retry=retry_settings(self.settings)),
        )
        return agent, model

    async def ask(self, prompt: str) -> Any:
        agent, model = self.agent()
        self.calls = model.calls
        config = RunConfig(tracing_disabled=True)
        return (await Runner.run(agent, prompt, run_config=config)).final_output

    async def fail(self, prompt: str) -> Failure:
        with pytest.raises(Exception) as raised:  # noqa: PT011, which one is not the question
            await self.ask(prompt)
        return failure_from(raised.value)

    @property
    def errors(self) -> list[str | None]:
        return [call.error for call in self.calls]


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def settings_for(url: str, **values: Any) -> Settings:
    defaults: dict[str, Any] = {"model_retries": 2, "model_timeout_s": 5, "OPENAI_API_KEY": None}
    return Settings(**{"OPENAI_BASE_URL": url, **defaults, **values})


@pytest.fixture(params=APIS)
async def client(stub: StubOpenAI, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    running = Client(settings_for(stub.base_url, model_api=request.param))
    yield running
    await running.models.aclose()


def unique(text: str) -> str:
    return f"{text} #{uuid.uuid4().hex}"


def without(names: set[str], body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


async def test_what_was_asked_is_recorded_but_for_the_conversation(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique("What is it?")
    await client.ask(prompt)
    [call] = client.calls
    assert call.request is not None
    assert (call.request["model"], call.request["input_items"]) == ("gpt-test", 1)
    assert "Add two numbers." in json.dumps(call.request["tools"])
    assert prompt not in json.dumps(call.request)
    [request] = stub.requests(prompt)
    conversation = {"input", "input_items", "messages"}
    assert without(conversation, call.request) == without(conversation, request["body"])


async def test_a_plain_prompt_is_answered_and_recorded(client: Client) -> None:
    assert await client.ask("hello") == "echo 1: hello"
    [call] = client.calls
    assert (call.number, call.model, call.error) == (1, "gpt-test-2026-01-01", None)
    assert call.response_id
    assert call.response_id.startswith(("resp_", "chatcmpl-"))
    assert call.request_id
    assert call.request_id.startswith("req_")
    assert call.usage
    assert call.usage["requests"] == 1
    assert call.usage["total_tokens"] == call.usage["input_tokens"] + call.usage["output_tokens"]
    assert set(call.usage) > {"input_tokens_details", "output_tokens_details"}
    assert json.dumps(call.usage)
    assert call.started_at <= call.ended_at


async def test_the_raw_body_is_what_the_server_sent_byte_by_byte(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique(r"[[say ü 😀 </script> \ud800 \u0000 \u007f]] faithful")
    await client.ask(prompt)
    [request] = stub.requests(prompt)
    assert json.dumps(client.calls[0].raw) == request["sent"]
    assert client.calls[0].raw["x_vendor"]["big"] == 123456789012345678901234567890


async def test_a_tool_is_called_and_both_calls_are_recorded(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique('[[tool add {"a": 40, "b": 2}]] [[say done]]')
    assert await client.ask(prompt) == "done"
    assert [call.number for call in client.calls] == [1, 2]
    assert [json.dumps(call.raw) for call in client.calls] == [
        request["sent"] for request in stub.requests(prompt)
    ]
    assert "42" in json.dumps(stub.requests(prompt)[1]["body"])


async def test_without_a_key_a_local_server_is_used_and_no_real_key_is_sent(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique("no key")
    await client.ask(prompt)
    [request] = stub.requests(prompt)
    assert request["headers"]["authorization"] == "Bearer unused"


async def test_without_key_and_server_there_is_no_model_and_no_connection() -> None:
    with pytest.raises(ModelUnavailable) as raised:
        Client(Settings(OPENAI_API_KEY=None, OPENAI_BASE_URL=None)).agent()
    assert failure_from(raised.value).code == FailureCode.MODEL_REJECTED


async def test_with_a_key_the_server_gets_it(stub: StubOpenAI) -> None:
    client = Client(settings_for(stub.base_url, OPENAI_API_KEY="sk-mine"))
    prompt = unique("with key")
    await client.ask(prompt)
    [request] = stub.requests(prompt)
    assert request["headers"]["authorization"] == "Bearer sk-mine"
    assert "sk-mine" not in str(client.calls)
    await client.models.aclose()


async def test_a_password_in_the_base_url_goes_to_the_server_instead_of_a_key(
    stub: StubOpenAI,
) -> None:
    client = Client(settings_for(stub.base_url.replace("://", "://me:p%40ss@")))
    prompt = unique("Who am I?")
    await client.ask(prompt)
    [request] = stub.requests(prompt)
    assert request["headers"]["authorization"] == "Basic bWU6cEBzcw=="
    await client.models.aclose()


async def test_a_redirect_is_not_followed_to_another_host(client: Client, stub: StubOpenAI) -> None:
    prompt = unique(f"[[status 307 location {stub.base_url}/elsewhere]]")
    failure = await client.fail(prompt)
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_ERROR, False)
    assert len(stub.requests(prompt)) == 1


async def test_a_rate_limit_is_waited_out_as_long_as_the_server_said(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique("[[status 429 retry-after 0.3 times 2]]")
    assert (await client.ask(prompt)).startswith("echo 1")
    first, second, third = (request["at"] for request in stub.requests(prompt))
    assert second - first >= 0.3
    assert third - second >= 0.3
    assert client.errors == ["429 RateLimitError", "429 RateLimitError", None]
    assert [call.number for call in client.calls] == [1, 2, 3]
    assert client.calls[0].raw is None


async def test_a_server_that_is_overloaded_for_long_is_not_waited_for(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique("[[status 429 retry-after 600]]")
    failure = await client.fail(prompt)
    assert (failure.code, failure.retry_after) == (FailureCode.MODEL_OVERLOADED, 600)
    assert len(stub.requests(prompt)) == 1


async def test_an_exhausted_quota_is_not_tried_again(client: Client, stub: StubOpenAI) -> None:
    prompt = unique("[[status 429 code insufficient_quota retry-after 0.1]]")
    failure = await client.fail(prompt)
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_OVERLOADED, False)
    assert len(stub.requests(prompt)) == 1


async def test_a_server_error_is_tried_again_until_it_passes(client: Client) -> None:
    assert (await client.ask(unique("[[status 500 times 1]]"))).startswith("echo 1")
    assert client.errors == ["500 InternalServerError", None]


async def test_a_server_error_for_ever_fails_after_the_retries(client: Client) -> None:
    failure = await client.fail(unique("[[status 500]]"))
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_ERROR, True)
    assert client.errors == ["500 InternalServerError"] * 3


async def test_a_rejection_is_not_tried_again_and_its_words_do_not_leak(
    client: Client, stub: StubOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for status in (400, 401, 403, 404, 409, 422):
        prompt = unique(f"[[status {status}]] secret words")
        failure = await client.fail(prompt)
        assert len(stub.requests(prompt)) == 1, status
        assert str(status) in failure.detail
        for text in (failure.detail, str(client.calls), caplog.text):
            assert "secret" not in text
            assert "sk-stub" not in text


@pytest.mark.parametrize("api", APIS)
async def test_a_server_that_hangs_ends_as_a_timeout_and_is_not_asked_again(
    stub: StubOpenAI, api: str
) -> None:
    client = Client(settings_for(stub.base_url, model_api=api, model_timeout_s=0.4))
    failure = await client.fail(unique("[[hang]]"))
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_TIMEOUT, True)
    assert client.errors == ["ModelTimeoutError"]
    await client.models.aclose()


async def test_a_read_timeout_of_the_client_alone_is_a_timeout_too(stub: StubOpenAI) -> None:
    client = Client(settings_for(stub.base_url, model_timeout_s=0.4))
    model = RecordingModel(client.models.get("gpt-test", owner=""), name="gpt-test")
    agent = Agent(
        "a", model=model, model_settings=ModelSettings(retry=retry_settings(client.settings))
    )
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await Runner.run(agent, "[[hang]]", run_config=RunConfig(tracing_disabled=True))
    assert failure_from(raised.value).code == FailureCode.MODEL_TIMEOUT
    assert [call.error for call in model.calls] == ["APITimeoutError"]
    await client.models.aclose()


async def test_a_server_that_is_not_there_is_tried_again_then_fails(unused_port: int) -> None:
    client = Client(settings_for(f"http://127.0.0.1:{unused_port}/v1", model_retries=1))
    failure = await client.fail("hello")
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_ERROR, True)
    assert client.errors == ["APIConnectionError"] * 2
    assert all(call.request for call in client.calls)
    await client.models.aclose()


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


GARBAGE = [
    "",
    "null",
    "[]",
    "17",
    "{}",
    '{"output": null, "choices": null}',
    '{"output": ["x"], "choices": ["x"]}',
    '{"output": [], "choices": [{"message": null}]}',
    '{"output": [{}], "choices": [{"message": {"content": [1]}}]}',
    '{"output": [{"type": "message"}], "choices": [{"message": 1}]}',
    '{"output": [{"type": "message", "content": [null]}], "usage": {"input_tokens": "x"}}',
    '{"output": [{"type": "function_call"}], "choices": [{"message": {"tool_calls": [1]}}]}',
    "<html>busy</html>",
]


async def test_an_answer_that_is_none_fails_as_the_models_error(client: Client) -> None:
    for garbage in GARBAGE:
        failure = await client.fail(unique(f"[[garbage {garbage}]]"))
        assert failure.code == FailureCode.MODEL_ERROR, garbage
        asked_again = client.errors[0] == "EmptyAnswer"
        assert len(client.calls) == (2 if asked_again else 1), garbage
        assert None not in client.errors, garbage


async def test_a_connection_that_breaks_in_the_answer_is_tried_again(client: Client) -> None:
    assert (await client.ask(unique("[[broken times 1]]"))).startswith("echo 1")
    assert client.errors == ["APIConnectionError", None]


async def test_a_refusal_of_the_model_is_a_failure_and_keeps_its_raw_body(client: Client) -> None:
    failure = await client.fail(unique("[[refuse]]"))
    assert failure.code == FailureCode.MODEL_REFUSED
    assert "I cannot help with that." in json.dumps(client.calls[0].raw)


@pytest.mark.parametrize("watch", [False, True])
async def test_an_incomplete_answer_fails_and_its_tokens_are_recorded(
    client: Client, watch: bool
) -> None:
    prompt = unique("[[incomplete]] [[say as far as it]]")
    with pytest.raises(AnswerTruncated):
        await (watched(client, prompt) if watch else client.ask(prompt))
    [call] = client.calls
    assert call.error == "AnswerTruncated"
    assert call.raw["usage"]
    assert call.usage
    assert call.usage["total_tokens"] == call.raw["usage"]["total_tokens"]


async def test_runs_at_once_record_only_their_own_bodies(client: Client, stub: StubOpenAI) -> None:
    prompts = [unique("[[delay 0.1]] [[status 503 retry-after 0.1 times 1]]") for _ in range(50)]

    async def run(prompt: str) -> list[ModelCall]:
        agent, model = client.agent()
        await Runner.run(agent, prompt, run_config=RunConfig(tracing_disabled=True))
        return model.calls

    recorded = await asyncio.gather(*map(run, prompts))
    sent = {request["prompt"]: request["sent"] for request in stub.requests()}
    for prompt, (failed, call) in zip(prompts, recorded, strict=True):
        assert failed.raw is None
        assert failed.error == "503 InternalServerError"
        assert json.dumps(call.raw) == sent[prompt]
    assert stub.stats()["max_concurrent"] >= 25


class Told(RunEvents):
    """Keeps what a run reports, as if somebody watched."""

    def __init__(self) -> None:
        claim = SimpleNamespace(message_id=None, attempt=1, event_count=2, streamed=True)
        super().__init__(cast(Claim, claim), wake=lambda: None)

    def texts(self) -> list[dict[str, Any]]:
        batch = self.batch()
        return [event.data for event in batch.events] if batch else []


async def watched(client: Client, prompt: str) -> tuple[RunResult, Told, RecordingModel]:
    told = Told()
    model = RecordingModel(client.models.get("gpt-test", owner=""), name="gpt-test", events=told)
    agent = client.agent()[0].clone(model=model)
    client.calls = model.calls
    result = await Runner.run(agent, prompt, run_config=RunConfig(tracing_disabled=True))
    return result, told, model


async def test_a_watched_run_is_the_same_run(client: Client, stub: StubOpenAI) -> None:
    prompt = unique('[[tool add {"a": 1, "b": 2}]] [[say well then]]')
    result, told, _ = await watched(client, prompt)
    assert result.final_output == "well then"
    assert told.texts() == [{"call": 2, "text": "well then"}]
    streamed = client.calls
    assert await client.ask(prompt) == "well then"
    for call, plain in zip(streamed, client.calls, strict=True):
        assert call.error is None
        assert call.usage == plain.usage or "stream" in json.dumps(stub.requests(prompt)[0]["body"])
        assert call.usage is not None
        assert set(call.usage) == set(plain.usage or {})
    assert {call["body"].get("stream") for call in stub.requests(prompt)} == {True, None}


async def test_the_body_of_a_watched_answer_is_what_the_server_sent(
    stub: StubOpenAI,
) -> None:
    client = Client(settings_for(stub.base_url))
    await watched(client, unique("[[say hello]]"))
    [call] = client.calls
    assert json.dumps(call.raw["x_vendor"]) == json.dumps(VENDOR)
    assert call.raw["output"][0]["content"][0]["text"] == "hello"
    assert call.request_id
    await client.models.aclose()


async def test_watched_calls_share_a_connection(client: Client, stub: StubOpenAI) -> None:
    before = stub.stats()
    for _ in range(3):
        await watched(client, unique("[[pace 0.01]] [[say one two three]]"))
    after = stub.stats()
    assert after["calls"] - before["calls"] == 3
    assert after["connections"] - before["connections"] <= 1


async def test_a_call_that_is_tried_again_writes_its_text_anew(client: Client) -> None:
    result, told, _ = await watched(client, unique("[[broken times 1]] [[say one two three]]"))
    assert result.final_output == "one two three"
    assert told.texts()[-1] == {"call": 2, "text": "one two three"}


@pytest.mark.parametrize("directive", ["[[status 400]]", "[[garbage]]"])
async def test_a_watched_call_fails_as_any_other(client: Client, directive: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await watched(client, unique(directive))
    expected = await client.fail(unique(directive))
    assert failure_from(raised.value).code == expected.code


@pytest.mark.parametrize("directive", ["[[hang]]", "[[pace 0.1]] a b c d e f g h i j k l m n o p"])
async def test_a_run_that_is_stopped_closes_the_models_connection(
    client: Client, stub: StubOpenAI, directive: str
) -> None:
    left, prompt = stub.stats()["left"], unique(directive)
    running = asyncio.create_task(watched(client, prompt))
    while not stub.requests(prompt):  # noqa: ASYNC110 -- the stub is a server of its own
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for _ in range(100):
        if stub.stats()["left"] > left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the stub still writes")


async def test_a_stream_that_breaks_fails_as_the_models_error(client: Client) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await watched(client, unique("[[broken]]"))
    assert failure_from(raised.value).code == FailureCode.MODEL_ERROR
    assert client.errors == ["APIConnectionError"] * 3


@pytest.mark.parametrize("watch", [False, True])
async def test_half_a_surrogate_pair_does_not_end_a_conversation(
    client: Client, watch: bool
) -> None:
    async def ask(prompt: str) -> str:
        if watch:
            return str((await watched(client, prompt))[0].final_output)
        return str(await client.ask(prompt))

    said = await ask(unique(r"[[say half \ud83d and whole \ud83d\ude00]]"))
    assert said == "half \ud83d and whole 😀"
    assert json.dumps(said) in json.dumps(client.calls[0].raw)
    second = unique(said)
    assert (await ask(second)).startswith("echo 1: half \ufffd and whole 😀")
    assert client.errors == [None]


async def test_a_run_that_is_cancelled_leaves_its_call_recorded(
    client: Client, stub: StubOpenAI
) -> None:
    prompt = unique("[[hang]]")
    asking = asyncio.create_task(client.ask(prompt))
    while not stub.requests(prompt):  # noqa: ASYNC110 -- the stub is a server of its own
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert client.errors == ["CancelledError"]


async def test_a_model_without_a_server_is_recorded_as_json() -> None:
    model = RecordingModel(ScriptedModel([[assistant_message("hello")]]), name="scripted")
    agent = Agent("a", model=model)
    await Runner.run(agent, "hi", run_config=RunConfig(tracing_disabled=True))
    [call] = model.calls
    assert call.model == "scripted"
    assert "hello" in json.dumps(call.raw)


def test_models_are_made_once_a_name(stub: StubOpenAI) -> None:
    models = Models(settings_for(stub.base_url), CodeChecker())
    first, again, other = (models.get(name, owner="") for name in "aab")
    assert first is again
    assert first is not other
