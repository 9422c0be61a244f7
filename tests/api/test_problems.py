"""Whatever goes wrong is answered with a problem."""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.problems import PROBLEM_TYPES, problem_type
from shared.errors import FailureCode, MessageFailed, SettingsError, VibeCoderError
from shared.schema import migrate
from shared.settings import Settings
from tests.api.calls import NOBODYS_ID, assert_problem, new_project, new_session, send
from tests.eager import idle_service
from tests.services import PostgresServer, RedisServer

NEVER_ANSWERED = {SettingsError, MessageFailed}  # ends the start; answered by its failure's type


def errors(of: type[VibeCoderError] = VibeCoderError) -> Iterator[type[VibeCoderError]]:
    for error in of.__subclasses__():
        yield error
        yield from errors(error)


def test_every_error_has_its_type_of_problem(subtests: pytest.Subtests) -> None:
    for error in set(errors()) - NEVER_ANSWERED:
        with subtests.test(error.__name__):
            found = problem_type(error)
            assert found.code == error.code
            assert 400 <= found.status < 500 or found.status == HTTPStatus.SERVICE_UNAVAILABLE


def test_every_failure_has_its_type_of_problem(subtests: pytest.Subtests) -> None:
    for code in FailureCode:
        with subtests.test(code.value):
            assert problem_type(code).code == code


def test_no_two_types_of_problem_share_a_code() -> None:
    known = {error.code for error in errors() if error not in NEVER_ANSWERED} | set(FailureCode)
    assert known < set(PROBLEM_TYPES)
    assert len({found.title for found in PROBLEM_TYPES.values()}) == len(PROBLEM_TYPES)


def test_a_problems_type_leads_to_its_explanation(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    for code, found in PROBLEM_TYPES.items():
        with subtests.test(code):
            explained = client.get(f"/problems/{code}").json()
            assert explained["code"] == code
            assert explained["status"] == found.status
            assert explained["meaning"].endswith((".", "..."))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nothing/here", "not_found"),
        ("/projects/", "not_found"),
        (f"/projects/{NOBODYS_ID}", "project_not_found"),
        (f"/projects/{NOBODYS_ID}/code", "project_not_found"),
        (f"/projects/{NOBODYS_ID}/workflow.svg", "project_not_found"),
        (f"/projects/{NOBODYS_ID}/sessions", "project_not_found"),
        (f"/projects/{NOBODYS_ID}/revisions/1", "project_not_found"),
        (f"/sessions/{NOBODYS_ID}", "session_not_found"),
        (f"/sessions/{NOBODYS_ID}/messages", "session_not_found"),
        (f"/sessions/{NOBODYS_ID}/items", "session_not_found"),
        (f"/messages/{NOBODYS_ID}", "message_not_found"),
        (f"/messages/{NOBODYS_ID}/full", "message_not_found"),
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str, code: str) -> None:
    assert assert_problem(client.get(path), 404, code)["instance"] == path


def test_a_wrong_method_is_405_and_says_which_are_right(client: TestClient) -> None:
    answer = client.put("/projects", json={})
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST"
    answer = client.post(f"/projects/{uuid4()}")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, PATCH"


def test_head_is_answered_like_get(client: TestClient, live: httpx2.Client) -> None:
    assert client.head("/health").status_code == 200
    assert client.head("/messages/nobody").status_code == 422
    answer = live.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(live.get("/health").content)


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b'{"name": ', "application/json", 422, "invalid_request"),
        (b"", "application/json", 422, "invalid_request"),
        (b"null", "application/json", 422, "invalid_request"),
        (b'{"name": "\xff"}', "application/json", 400, "bad_request"),
        (b"[" * 9_000, "application/json", 400, "bad_request"),
        (b"[" * 7_000_000, "application/json", 422, "invalid_request"),
        (b"[" + b"{}," * 10_000 + b"{}]", "application/json", 422, "invalid_request"),
        (b'{"name": "x"}', "text/plain", 415, "unsupported_media_type"),
        (b"name=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"name": "x"}', None, 415, "unsupported_media_type"),
    ],
    ids=[
        "malformed",
        "empty",
        "null",
        "not UTF-8",
        "deep",
        "deeper",
        "many",
        "text",
        "form",
        "untyped",
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    client: TestClient, content: bytes, media_type: str | None, status: int, code: str
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    assert_problem(client.post("/projects", content=content, headers=headers), status, code)


def test_brackets_and_commas_within_a_text_are_no_structure(client: TestClient) -> None:
    code = "x = [" + "1, " * 15_000 + "]\ny = '\\\"[{,'\n"
    body = {"name": "Lists", "code": code}
    assert client.post("/projects", json=body).json()["code"] == code


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(
    tmp_path: Path,
) -> None:
    with idle_service(tmp_path / "data", body_limit=2000) as client:
        headers = {"Content-Type": "application/json"}
        large = b'{"name": "%s"}' % (b"x" * 2000)
        announced = client.post("/projects", content=large, headers=headers)
        chunked = client.post("/projects", content=iter([large[:1500], large[1500:]]))
        for answer in (announced, chunked):
            assert_problem(answer, 413, "body_too_large")
        small = client.post("/projects", content=iter([b'{"name":', b'"x"}']), headers=headers)
        assert small.status_code == 201


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/name"),
        ({"name": ["secret"]}, "#/name"),
        ({"name": "x", "code": {"secret": 1}}, "#/code"),
        ({"name": "x", "a/b~c": "secret"}, "#/a~1b~0c"),
        ({"name": "x", "é ": "secret"}, "#/%C3%A9%20"),
        (["secret"], "#"),
    ],
)
def test_a_validation_error_points_at_the_place_and_never_tells_the_value(
    client: TestClient, body: object, pointer: str
) -> None:
    answer = client.post("/projects", json=body)
    problem = assert_problem(answer, 422, "invalid_request")
    assert [part["pointer"] for part in problem["errors"]] == [pointer]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("path", "headers", "parameter"),
    [
        ("/projects?limit=many", {}, "limit"),
        ("/projects?limit=1001", {}, "limit"),
        ("/projects?after=nobody", {}, "after"),
        (f"/projects?after={NOBODYS_ID}", {}, "after"),
        ("/sessions/nobody", {}, "session_id"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: TestClient, path: str, headers: dict[str, str], parameter: str
) -> None:
    problem = assert_problem(client.get(path, headers=headers), 422, "invalid_request")
    assert [part["parameter"] for part in problem["errors"]] == [parameter]


def test_hostile_member_names_are_answered_in_bounded_space(client: TestClient) -> None:
    names = [f"{number}\\ud800{'x' * 1000}" for number in range(1000)]
    members = ", ".join(f'"{name}": 1' for name in names)
    headers = {"Content-Type": "application/json"}
    answer = client.post("/projects", content=f"{{{members}}}".encode(), headers=headers)
    assert_problem(answer, 422, "invalid_request")
    assert len(answer.content) < 20_000


def test_a_defect_is_500_with_a_trace_id_and_tells_nothing(client: TestClient) -> None:
    def boom() -> None:
        raise RuntimeError("secret")

    app = client.app
    assert isinstance(app, FastAPI)
    app.add_api_route("/boom", boom)
    answer = client.get("/boom")
    assert_problem(answer, 500, "internal")
    assert "secret" not in answer.text


def test_without_its_database_the_service_answers_503_and_recovers(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with PostgresServer(tmp_path) as server:
        settings = Settings(
            database_url=server.create_database(),
            redis_url=redis_server.url,
            namespace=f"test-{uuid4()}",
        )
        migrate(settings)
        with TestClient(create_app(settings)) as client:
            session_id = new_session(client)
            server.terminate()
            for answer in (client.get("/projects"), send(client, session_id)):
                assert_problem(answer, 503, "service_unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
            assert client.get("/ready").json()["database"] is False
            server.start()
            assert client.get("/projects").status_code == 200


@pytest.mark.parametrize(
    ("prompt", "status", "code", "retryable"),
    [
        ("[[status 500]]", 502, "model_error", True),
        ("[[garbage]]", 502, "model_error", True),
        ("[[status 429 retry-after 7]]", 503, "model_overloaded", True),
        ("[[status 400 code context_length_exceeded]]", 422, "model_rejected", False),
        ("[[refuse]]", 422, "model_refused", False),
    ],
)
def test_a_message_that_fails_answers_with_its_problem_and_never_with_200(
    live: httpx2.Client, prompt: str, status: int, code: str, *, retryable: bool
) -> None:
    session_id = new_session(live)
    answer = send(live, session_id, prompt)
    problem = assert_problem(answer, status, code)
    assert problem["retryable"] is retryable
    if code == "model_overloaded":
        assert int(answer.headers["Retry-After"]) >= 1
    message = live.get(f"/messages/{problem['message_id']}").json()
    assert message["status"] == "failed"
    assert message["error"]["code"] == code
    assert message["trace_id"] == problem["trace_id"]
    assert live.get(f"/sessions/{session_id}/items").json() == []


def test_a_model_that_does_not_answer_is_a_problem_of_time(impatient: TestClient) -> None:
    problem = assert_problem(
        send(impatient, new_session(impatient), "[[hang]]"), 504, "model_timeout"
    )
    assert problem["retryable"] is True


def test_a_path_with_hostile_characters_is_answered_with_a_valid_instance(
    client: TestClient,
) -> None:
    problem = assert_problem(client.get("/a%00%0a%20é%3Fb/%25"), 404, "not_found")
    assert problem["instance"] == "/a%00%0A%20%C3%A9%3Fb/%25"


def test_a_project_that_is_invalid_leaves_nothing_behind(client: TestClient) -> None:
    before = new_project(client)
    assert client.post("/projects", json={"name": ""}).status_code == 422
    assert client.get("/projects").json()[-1]["id"] == before
