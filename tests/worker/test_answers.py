"""An answer of a model's server is taken as it is, over both APIs, watched or not."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.eager import eager_service
from tests.stub_process import StubOpenAI
from tests.worker.test_histories import OUTLINE, PATCH, Service

APIS = ["responses", "chat_completions"]
MODELS = ("uncounted", "strict-b")


@pytest.fixture(scope="module")
def stub() -> Iterator[StubOpenAI]:
    with StubOpenAI() as stub:
        yield stub


@pytest.fixture(scope="module")
def serve(stub: StubOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def start(api: str, **settings: Any) -> Any:
        return eager_service(
            tmp_path_factory.mktemp("answers"),
            openai_base_url=stub.base_url,
            model_api=api,
            model="strict-a",
            models=MODELS,
            model_retries=1,
            **settings,
        )

    return start


@pytest.fixture(scope="module", params=APIS)
def running(
    request: pytest.FixtureRequest, serve: Callable[..., Any]
) -> Iterator[tuple[TestClient, str]]:
    with serve(request.param) as client:
        yield client, request.param


@pytest.fixture
def service(running: tuple[TestClient, str], stub: StubOpenAI) -> Service:
    """Give the service that nobody watches: for what does not depend on how an answer comes."""
    client, api = running
    return Service(client, stub, api, watched=False)


@pytest.fixture(params=[False, True], ids=["plain", "watched"])
def either(request: pytest.FixtureRequest, service: Service) -> Service:
    """Give the service watched or not: for what is read of an answer."""
    return replace(service, watched=request.param)


def failed(service: Service, *prompts: str) -> list[dict[str, Any]]:
    """Send prompts that fail, and one that does not; return the failures."""
    session_id = service.session()
    failures: list[dict[str, Any]] = []
    for prompt in prompts:
        message = service.ask(session_id, prompt)
        assert message["status"] == "failed", (prompt, message["reply"])
        failures.append(message["error"])
    assert service.client.get(f"/sessions/{session_id}/items").json() == []
    service.reply(session_id, "and now?")
    return failures


def usage_of(service: Service, path: str) -> dict[str, Any]:
    totals: dict[str, Any] = service.client.get(f"{path}/usage").json()["totals"]
    return totals


def test_usage_that_was_not_sent_is_unknown(either: Service) -> None:
    session_id = either.session()
    message = either.reply(session_id, "hi", "uncounted")
    assert message["usage"] is None
    [call] = either.full(message)["responses"]
    assert call["usage"] is None
    for path in (f"/messages/{message['message_id']}", f"/sessions/{session_id}"):
        totals = usage_of(either, path)
        assert (totals["calls"], totals["uncounted_calls"]) == (1, 1)
    either.reply(session_id, "hi")
    assert usage_of(either, f"/sessions/{session_id}")["uncounted_calls"] == 1


def test_usage_of_some_calls_says_how_many_are_missing(service: Service) -> None:
    prompt = '[[usage {"usage": null} times 1]] [[tool outline {}]] [[say done]]'
    message = service.reply(service.session(), prompt)
    assert (message["usage"]["requests"], message["usage"]["uncounted_calls"]) == (1, 1)
    assert message["usage"]["input_tokens"] > 0
    first, second = service.full(message)["responses"]
    assert (first["usage"], second["usage"]["requests"]) == (None, 1)


def test_usage_that_cannot_be_is_unknown(service: Service) -> None:
    names = {"responses": ("input", "output"), "chat_completions": ("prompt", "completion")}
    session_id = service.session()
    for value in ("-1", "1e26", "1.5", "9" * 27, f"1{'0' * 12}1", '"12"', "true", "null", "[]"):
        counts = ", ".join(f'"{name}_tokens": {value}' for name in names[service.api])
        message = service.reply(session_id, f'[[usage {{"usage": {{{counts}}}}}]] hi')
        assert message["usage"] is None, value


def test_strange_usage_that_was_stored_before_can_be_read(service: Service) -> None:
    session_id = service.session()
    message_id = service.reply(session_id, "hi")["message_id"]
    settings = service.client.app.state.services.settings  # type: ignore[attr-defined]
    for stored in ("1e26", "9" * 27, "-5", "1.5", "null"):
        usage = f'{{"requests": 1, "input_tokens": {stored}, "output_tokens": {stored}}}'
        with closing(sqlite3.connect(settings.database_location)) as db:
            db.execute("UPDATE messages SET usage = ? WHERE content LIKE 'hi%'", [usage])
            db.commit()
        for path in (f"/messages/{message_id}", f"/sessions/{session_id}"):
            for read in (path, f"{path}/usage"):
                assert service.client.get(read).is_success, (stored, read)
        for read in (f"/messages/{message_id}/full", f"/sessions/{session_id}/messages"):
            assert service.client.get(read).is_success, (stored, read)


def test_strange_usage_as_a_whole_or_in_its_details_loses_no_answer(either: Service) -> None:
    names = {"responses": ("input", "output"), "chat_completions": ("prompt", "completion")}
    read, written = names[either.api]
    known = {f"{read}_tokens": 7, f"{written}_tokens": 3}
    session_id = either.session()
    strange: tuple[Any, ...] = ("many", [], -5, {"cached_tokens": -1})
    for value in strange:
        whole = json.dumps({"usage": value})
        assert either.reply(session_id, f"[[usage {whole}]] hi")["usage"] is None, value
        told = json.dumps({"usage": known | {f"{read}_tokens_details": value}})
        usage = either.reply(session_id, f"[[usage {told}]] hi")["usage"]
        assert (usage["input_tokens"], usage["total_tokens"]) == (7, 10), value
        assert usage["input_tokens_details"] == {"cached_tokens": 0}, value


@pytest.mark.parametrize(
    ("budget", "place"), [({"budget_tokens": 10**6}, "session"), ({"budget_usd": "5"}, "project")]
)
def test_a_budget_that_cannot_be_held_says_so(
    service: Service, budget: dict[str, Any], place: str
) -> None:
    session_id = service.session()
    message = service.reply(session_id, "hi", "uncounted")
    path = {"session": f"/sessions/{session_id}", "project": f"/projects/{message['project_id']}"}
    assert service.client.patch(path[place], json=budget).status_code == 200
    before = service.stub.stats()["calls"]
    failure = service.ask(session_id, "hi", "strict-b")["error"]
    assert failure["code"] == "usage_unknown"
    assert f"The {place} has a budget that cannot be held" in failure["detail"]
    assert "uncounted" in failure["detail"], "the model is named"
    assert service.stub.stats()["calls"] == before
    none = dict.fromkeys(budget)
    assert service.client.patch(path[place], json=none).status_code == 200
    service.reply(session_id, "hi", "strict-b")


def test_a_budget_is_held_where_calls_failed_and_cost_nothing(service: Service) -> None:
    session_id = service.session()
    budget = {"budget_tokens": 10**9}
    assert service.client.patch(f"/sessions/{session_id}", json=budget).status_code == 200
    service.reply(session_id, "[[status 500 times 1]] hi")
    service.reply(session_id, "hi")


def test_an_answer_that_is_cut_off_is_none(either: Service) -> None:
    prompts = [f"[[incomplete]] {calls} [[say as far as it]]" for calls in ("", OUTLINE)]
    for failure in failed(either, *prompts):
        assert failure["code"] == "output_truncated"
        assert "(max_output_tokens)" in failure["detail"]
        assert "again" not in failure["detail"]
        assert not failure["retryable"]


def test_an_answer_that_was_filtered_is_a_refusal(either: Service) -> None:
    [failure] = failed(either, "[[filtered]] [[say as far as it]]")
    assert failure["code"] == "model_refused"


def test_an_empty_answer_is_asked_for_once_more(either: Service) -> None:
    message = either.reply(either.session(), "[[empty times 1]] [[say well]]")
    assert message["reply"] == "well"
    errors = [call["error"] for call in either.full(message)["responses"]]
    assert errors == ["EmptyAnswer", None]


def test_an_answer_that_stays_empty_is_none(either: Service) -> None:
    before = either.stub.stats()["calls"]
    for failure in failed(either, "[[empty]] a", "[[say  ]] b"):
        assert failure["code"] == "model_error"
        assert "empty" in failure["detail"]
    calls = either.stub.stats()["calls"] - before
    assert calls == 2 + 2 + 1, "each twice, and the message after them"


def test_an_error_with_status_200_is_that_error(either: Service) -> None:
    wrong: list[str] = []
    session_id = either.session()
    errors: list[tuple[dict[str, Any], str, int]] = [
        ({"code": "rate_limit_exceeded", "message": "slow"}, "model_overloaded", 2),
        ({"code": 503, "message": "busy"}, "model_overloaded", 2),
        ({"type": "overloaded_error", "message": "busy"}, "model_overloaded", 2),
        ({"code": "insufficient_quota", "message": "pay"}, "model_overloaded", 1),
        ({"code": "context_length_exceeded", "message": "long"}, "model_rejected", 1),
        ({"type": "invalid_request_error", "message": "no"}, "model_rejected", 1),
        ({"code": "model_not_found", "message": "which"}, "model_rejected", 1),
        ({"type": "authentication_error", "message": "sk-stub"}, "model_error", 1),
        ({"message": "boom"}, "model_error", 2),
    ]
    for error, code, calls in errors:
        before = either.stub.stats()["calls"]
        failure = either.ask(session_id, f"[[error {json.dumps(error)}]]")["error"] or {}
        asked = either.stub.stats()["calls"] - before
        if (failure.get("code"), asked) != (code, calls) or "sk-stub" in failure["detail"]:
            wrong.append(f"{error}: {failure}, {asked} calls")
    assert not wrong, "\n".join(wrong)
    either.reply(session_id, "and now?")


def test_an_error_with_status_200_passes(either: Service) -> None:
    error = json.dumps({"code": "rate_limit_exceeded", "message": "sk-stub said no"})
    message = either.reply(either.session(), f"[[error {error} times 1]] [[say well]]")
    first, second = either.full(message)["responses"]
    assert (first["error"], first["raw"]) == ("429 APIStatusError", None)
    assert second["error"] is None


def test_what_can_be_sent_again_is_sent_with_a_new_key(service: Service) -> None:
    session_id = service.session()
    path = f"/sessions/{session_id}/messages"
    prompt = {"prompt": f"[[status 500 times 2]] [[say {session_id}]]"}
    first = service.client.post(path, json=prompt, headers={"Idempotency-Key": "one"})
    assert (first.status_code, first.json()["retryable"]) == (502, True)
    assert first.json()["detail"].endswith("Send the message again with a new key.")
    replayed = service.client.post(path, json=prompt, headers={"Idempotency-Key": "one"})
    assert replayed.status_code == 502, "the old key replays the failure"
    assert service.client.post(path, json=prompt, headers={"Idempotency-Key": "two"}).is_success


def test_bad_framing_is_tried_again_like_a_broken_connection(either: Service) -> None:
    message = either.reply(either.session(), "[[chunks times 1]] [[say well]]")
    assert [call["error"] for call in either.full(message)["responses"]][1:] == [None]


def test_half_a_surrogate_in_a_call_or_a_text_does_not_end_a_conversation(
    either: Service,
) -> None:
    session_id = either.session()
    patch = json.dumps({"patch": PATCH.replace("triage", "tri\ud83dage")})
    calls = json.dumps({"calls": [{"name": "outl\ud83dine", "arguments": patch}]})
    either.reply(session_id, f"[[calls {calls}]] [[say half \\ud83d and nul \\u0000]]")
    either.reply(session_id, "and now?")
    either.reply(session_id, "and now?", "strict-b")


BODIES = [
    "",
    "null",
    "[]",
    "17",
    "{}",
    '{"output": null, "choices": null}',
    '{"output": [], "choices": []}',
    '{"output": ["x"], "choices": ["x"]}',
    '{"output": {"a": 1}, "choices": {"a": 1}}',
    '{"output": [{"type": "message", "content": null}], "choices": [{"message": null}]}',
    '{"output": [{"type": "message", "content": "x"}]}',
    '{"output": [{"type": "message", "content": [null]}]}',
    '{"output": [{"type": "function_call"}]}',
    '{"output": [{"type": "function_call", "name": "outline", "arguments": {}}]}',
    '{"output": [{"type": "function_call", "name": null, "arguments": "{}", "call_id": "1"}]}',
    '{"output": [{"type": "reasoning", "summary": []}]}',
    '{"choices": [{"message": {"content": [1]}}]}',
    '{"choices": [{"message": {"content": 1}}]}',
    '{"choices": [{"message": {"audio": {}}}]}',
    '{"choices": [{"message": {"tool_calls": [1]}}]}',
    '{"choices": [{"message": {"tool_calls": [{"id": "1", "type": "function"}]}}]}',
    '{"choices": [{"message": {"tool_calls": [{"function": {"name": null}}]}}]}',
    "<html>busy</html>",
]


def test_what_is_no_answer_fails_as_the_models_error(either: Service) -> None:
    bodies = BODIES[::6] if either.watched else BODIES  # of a stream all of them are below
    failures = failed(either, *(f"[[garbage {body}]]" for body in bodies))
    codes = zip(bodies, (failure["code"] for failure in failures), strict=True)
    assert [(body, code) for body, code in codes if code != "model_error"] == []


EVENTS = [
    *BODIES,
    '{"choices": [{"index": 0, "delta": null}]}',
    '{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "stop"}]}',
    '{"choices": [{"index": 0, "delta": {"content": ["a"]}, "finish_reason": "stop"}]}',
    '{"type": "response.completed"}',
    '{"type": "response.completed", "response": null}',
    '{"type": "response.completed", "response": {"output": [{"type": "message"}]}}',
    '{"type": "response.failed", "response": {"status": "failed", "error": null}}',
    '{"type": "error"}',
]


def test_a_stream_that_is_no_answer_fails_as_the_models_error(service: Service) -> None:
    prompts = []
    for event in EVENTS:
        name = f"event: {json.loads(event)['type']}" if event.startswith('{"type') else ""
        prompts.append(f"[[events {name}|{event}]]")
    failures = failed(replace(service, watched=True), *prompts)
    codes = zip(EVENTS, (failure["code"] for failure in failures), strict=True)
    assert [(event, code) for event, code in codes if code != "model_error"] == []


@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_flows_is_not_cut_off_by_the_limit_of_a_call(
    serve: Callable[..., Any], stub: StubOpenAI, api: str
) -> None:
    with serve(api, model_timeout_s=1) as client:
        service = Service(client, stub, api, watched=True)
        session_id = service.session()
        said = " ".join(["word"] * 12)
        assert service.reply(session_id, f"[[pace 0.1]] [[say {said}]]")["reply"] == said
        assert service.ask(session_id, "[[hang]]")["error"]["code"] == "model_timeout"
        assert service.ask(session_id, "[[pace 5]] a b")["error"]["code"] == "model_timeout"
        unwatched = Service(client, stub, api, watched=False)
        assert unwatched.ask(session_id, "[[hang]]")["error"]["code"] == "model_timeout"
        service.reply(session_id, "and now?")
