"""What a model gets of the conversation is what its server takes, whatever came before."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from tests.api.calls import ASYNC, new_session, send
from tests.eager import eager_service
from tests.streams import watch
from tests.stub_process import StubOpenAI
from worker.model import recording

MODELS = (
    "strict-a",
    "strict-b",
    "strict-thinks-a",
    "strict-thinks-b",
    "forgets-thinks",
    "strict-zero",
    "strict-blank",
    "zero",
)
OUTLINE = '[[calls {"calls": [{"name": "outline", "arguments": "{}"}]}]]'
TWICE = (
    '[[calls {"calls": [{"name": "outline", "arguments": "{}"}, '
    '{"name": "outline", "arguments": "{}"}]}]]'
)
PATCH = '@@\n from agents import Agent\n+\n+triage = Agent(name="triage")\n'


@dataclass
class Service:
    """A service whose models are the stub's, asked over one API, watched or not."""

    client: TestClient
    stub: StubOpenAI
    api: str
    watched: bool

    def session(self) -> str:
        return new_session(self.client)

    def ask(self, session_id: str, prompt: str, model: str = "strict-a") -> dict[str, Any]:
        """Send a prompt; return the message as it ended."""
        prompt += f" #{uuid4().hex}"  # the stub counts the calls with a prompt
        headers = ASYNC if self.watched else None
        sent = send(self.client, session_id, prompt, headers, model=model).json()
        if self.watched:
            watch(self.client, sent["message_id"])
        message: dict[str, Any] = self.client.get(f"/messages/{sent['message_id']}").json()
        return message

    def reply(self, session_id: str, prompt: str, model: str = "strict-a") -> dict[str, Any]:
        """Send a prompt that is answered."""
        message = self.ask(session_id, prompt, model)
        assert message["status"] == "completed", message["error"]
        return message

    def full(self, message: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = self.client.get(f"/messages/{message['message_id']}/full").json()
        return body

    def sent(self) -> list[dict[str, Any]]:
        """Return the conversation in the newest request."""
        body = self.stub.requests(newest=1)[0]["body"]
        items: list[dict[str, Any]] = body["input"] if "input" in body else body["messages"]
        return items


@pytest.fixture(scope="module")
def stub() -> Iterator[StubOpenAI]:
    with StubOpenAI() as stub:
        yield stub


@pytest.fixture(scope="module")
def serve(stub: StubOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def start(api: str, **settings: Any) -> Any:
        return eager_service(
            tmp_path_factory.mktemp("histories"),
            openai_base_url=stub.base_url,
            model_api=api,
            model="strict-a",
            models=MODELS,
            **settings,
        )

    return start


@pytest.fixture(scope="module", params=["responses", "chat_completions"])
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
    """Give the service watched or not: for what is made of the items of an answer."""
    return replace(service, watched=request.param)


def test_a_model_gets_its_own_reasoning_and_ids_back(either: Service) -> None:
    session_id = either.session()
    either.reply(session_id, f"{OUTLINE} [[say one]]", "strict-thinks-a")
    either.reply(session_id, "two", "strict-thinks-a")
    sent = either.sent()
    if either.api == "responses":
        kinds = [item.get("type", "message") for item in sent]
        assert kinds.count("reasoning") == 2
        made = [item for item in sent if item.get("type") in {"reasoning", "function_call"}]
        assert all("id" in item for item in made)
        assert "provider_data" not in json.dumps(sent)
    else:
        thoughts = [item for item in sent if item["role"] == "assistant"]
        assert len(thoughts) == 2
        assert all(item["reasoning_content"].startswith("I think of") for item in thoughts)


@pytest.mark.parametrize("other", ["strict-b", "strict-thinks-b"])
def test_another_model_gets_the_conversation_without_ids_and_reasoning(
    service: Service, other: str
) -> None:
    session_id = service.session()
    service.reply(session_id, f"{OUTLINE} [[say one]]", "strict-thinks-a")
    service.reply(session_id, f"{OUTLINE} [[say two]]", other)
    assert "one" in json.dumps(service.sent())
    assert "I think of" not in json.dumps(service.sent()[:4]), "the thoughts of the first model"
    service.reply(session_id, "three", "strict-thinks-a")
    service.reply(session_id, "four", other)


def test_a_server_that_keeps_no_items_is_asked_again_without_them(service: Service) -> None:
    session_id = service.session()
    first = service.reply(session_id, f"{OUTLINE} [[say one]]", "forgets-thinks")
    service.reply(session_id, "two", "forgets-thinks")
    third = service.reply(session_id, f"{OUTLINE} [[say three]]", "forgets-thinks")
    if service.api == "responses":
        errors = [call["error"] for call in service.full(first)["responses"]]
        assert errors == [None, "404 NotFoundError", None], "each call is recorded"
        errors = [call["error"] for call in service.full(third)["responses"]]
        assert errors == ["404 NotFoundError", None, None], "once an attempt"
        assert "rs_" not in json.dumps(service.sent())
        assert "function_call_output" in json.dumps(service.sent()), "the calls stay"


@pytest.mark.parametrize("limit", [2, 5, 9])
@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_a_limit_cuts_at_messages_alone(
    serve: Callable[..., Any], stub: StubOpenAI, api: str, limit: int
) -> None:
    with serve(api, history_limit=limit) as client:
        service = Service(client, stub, api, watched=False)
        session_id = service.session()
        for number in range(3):
            service.reply(session_id, f"{OUTLINE} [[say {number}]]", "strict-thinks-a")
        service.reply(session_id, "short", "strict-thinks-a")
        service.reply(session_id, "last", "strict-thinks-a")
        sent = [item for item in service.sent() if item.get("role") != "system"]
        assert sent[0]["role"] == "user"
        prompts = [item["content"] for item in sent if item.get("role") == "user"]
        assert prompts[-1].startswith("last")
        # of the newest, two items (three with its reasoning) fit, and of those before six or more
        assert len(prompts) == {2: 2, 5: 2, 9: 3}[limit]


@pytest.mark.parametrize("model", ["strict-zero", "strict-blank"])
def test_call_ids_are_unique_whatever_the_server_sends(either: Service, model: str) -> None:
    session_id = either.session()
    message: dict[str, Any] = {}
    for calls, times in ((OUTLINE, 2), (TWICE, 3), (TWICE, 3)):
        message = either.reply(session_id, f"{calls} {OUTLINE} [[say done]]", model)
        found = either.full(message)["tool_calls"]
        assert len(found) == times
        assert all(call["output"] for call in found)
    items = either.client.get(f"/sessions/{session_id}/items").json()
    ids = [item["item"]["call_id"] for item in items if item["item"].get("type") == "function_call"]
    assert len(ids) == len(set(ids)) == 8
    assert all(ids)
    raw = json.dumps([call["raw"] for call in either.full(message)["responses"]])
    assert ids[-1] not in raw, "what the server sent stays as it was"
    either.reply(session_id, "and now?", "strict-b")


def test_a_conversation_that_was_stored_with_repeated_ids_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = service.session()
    with monkeypatch.context() as patch:
        patch.setattr(recording, "make_id_unique", lambda *_: None)
        for _ in range(3):
            service.reply(session_id, f"{OUTLINE} [[say done]]", "zero")
    service.reply(session_id, "and now?", "strict-a")


def test_arguments_that_are_no_json_do_not_end_the_conversation(either: Service) -> None:
    session_id = either.session()
    for arguments in ("{bad", "", "[1]", "NaN", '{"a": NaN}', '"text"'):
        calls = json.dumps({"calls": [{"name": "apply_patch", "arguments": arguments}]})
        message = either.reply(session_id, f"[[calls {calls}]] [[say done]]")
        [call] = either.full(message)["tool_calls"]
        assert call["arguments"] == arguments, "the record stays as it was"
    either.reply(session_id, "and now?")
    either.reply(session_id, "and now?", "strict-b")


def test_a_tool_is_found_by_what_models_call_it(either: Service) -> None:
    session_id = either.session()
    names = (
        "Apply_Patch",
        "apply-patch",
        "functions.apply_patch",
        "apply_patch<|channel|>commentary",
        "apply_patch ",
        "functions.apply_patch:0",
    )
    for number, name in enumerate(names):
        patch = PATCH.replace("triage", f"triage_{number}")
        calls = {"calls": [{"name": name, "arguments": json.dumps({"patch": patch})}]}
        message = either.reply(session_id, f"[[calls {json.dumps(calls)}]] [[say done]]")
        assert f"+triage_{number} = Agent" in message["diff"], name
        full = either.full(message)
        assert [call["name"] for call in full["tool_calls"]] == ["apply_patch"]
        assert json.dumps(name) in json.dumps(full["responses"][0]["raw"]), "as it was sent"
    either.reply(session_id, "and now?")
    assert not [name for name in names if json.dumps(name) in json.dumps(either.sent())]


def test_a_tool_that_is_none_is_answered_with_those_there_are(service: Service) -> None:
    session_id = service.session()
    calls = json.dumps({"calls": [{"name": "run it!", "arguments": "{}"}]})
    message = service.reply(session_id, f"[[calls {calls}]] [[say done]]")
    [call] = service.full(message)["tool_calls"]
    assert "outline" in call["output"]
    assert "apply_patch" in call["output"]
    service.reply(session_id, "and now?")


def test_a_fork_goes_on_with_what_its_model_knows(service: Service) -> None:
    session_id = service.session()
    message = service.reply(session_id, f"{OUTLINE} [[say one]]", "strict-thinks-a")
    fork = service.client.post(f"/messages/{message['message_id']}/fork", json={}).json()
    service.reply(fork["session_id"], "two", "strict-thinks-a")
    service.reply(fork["session_id"], "three", "strict-b")


def test_a_history_that_is_refused_says_what_to_do(service: Service) -> None:
    session_id = service.session()
    service.reply(session_id, f"{OUTLINE} [[say one]]")
    refused = "[[status 400]] No tool output found for function call call_1"
    message = service.ask(session_id, refused)
    assert message["error"]["code"] == "history_rejected"
    assert "/fork" in message["error"]["detail"]
    assert "DELETE /sessions/" in message["error"]["detail"]
    assert not message["error"]["retryable"]
    service.reply(session_id, "and now?")


def test_a_refusal_that_names_no_item_is_not_tried_again(service: Service) -> None:
    session_id = service.session()
    service.reply(session_id, f"{OUTLINE} [[say one]]")
    before = service.stub.stats()["calls"]
    assert service.ask(session_id, "[[status 400]] no")["error"]["code"] == "model_rejected"
    assert service.stub.stats()["calls"] == before + 1


def test_items_name_their_maker_but_not_its_key(
    serve: Callable[..., Any], stub: StubOpenAI, tmp_path: Path
) -> None:
    with serve("responses", openai_api_key="sk-planted-key") as client:
        session_id = new_session(client)
        assert send(client, session_id, "hi").status_code == 200
        *_, answer = client.get(f"/sessions/{session_id}/items").json()
        maker = answer["item"]["provider_data"]
        assert (maker["model"], maker["api"]) == ("strict-a", "responses")
        assert len(maker["account"]) == 16
        assert "planted" not in json.dumps(maker)
