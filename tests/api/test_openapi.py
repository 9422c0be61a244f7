"""The OpenAPI document is complete and true; conftest.py holds every answer against it."""

import json
import re
from collections.abc import Iterator

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from api.problems import PROBLEM_TYPES
from tests.api.calls import ASYNC, new_delivery, new_project, new_session, send
from tests.api.document import PROBLEM, Json, document, errors_of, operations

STREAM = "text/event-stream"


def schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def test_the_document_is_valid_and_served(client: TestClient) -> None:
    validate(document())
    assert client.get("/openapi.json").json() == document()
    assert "HTTPValidationError" not in document()["components"]["schemas"]


def test_an_operation_has_a_good_name_a_text_and_a_known_tag(subtests: pytest.Subtests) -> None:
    for _, _, operation in operations():
        with subtests.test(operation["operationId"]):
            assert re.fullmatch("[a-z]+(_[a-z]+)+", operation["operationId"])
            assert operation["description"].split("\n")[0].endswith((".", "?"))
            known = {tag["name"] for tag in document()["tags"] if tag["description"]}
            assert len(operation["tags"]) == 1
            assert set(operation["tags"]) <= known


def test_no_two_operations_share_a_name() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) > 20


def test_problems_and_only_problems_are_problem_documents(subtests: pytest.Subtests) -> None:
    for _, _, operation in operations():
        with subtests.test(operation["operationId"]):
            for status, response in operation["responses"].items():
                assert response["description"]
                assert "X-Trace-Id" in response["headers"]
                kinds = set(response.get("content", ()))
                is_problem = status >= "400" and operation["operationId"] != "get_readiness"
                assert (kinds == {PROBLEM}) is is_problem
                # what a POST may be answered with instead, if the client asks for it
                assert len(kinds - {STREAM} or kinds) == (status != "204")
                if status == "202":
                    assert {"Location", "Retry-After"} <= response["headers"].keys()
                if status == "201":
                    assert "Location" in response["headers"]


def test_an_operation_documents_what_every_route_may_answer(subtests: pytest.Subtests) -> None:
    for path, _, operation in operations():
        with subtests.test(operation["operationId"]):
            statuses = operation["responses"].keys()
            if path not in ("/health", "/ready"):
                assert {"422", "500", "503"} <= statuses
            if "requestBody" in operation:
                assert {"400", "413", "415"} <= statuses
            if re.search("_id}", path):
                assert "404" in statuses


def test_an_answer_has_a_type_with_a_name(subtests: pytest.Subtests) -> None:
    for _, _, operation in operations():
        with subtests.test(operation["operationId"]):
            for response in operation["responses"].values():
                for media_type, content in response.get("content", {}).items():
                    described = content["schema"]
                    if media_type.endswith("json"):
                        assert "$ref" in described or "$ref" in described["items"]
                    else:
                        assert described["type"] == "string"


def test_what_a_request_may_leave_out_is_never_null(subtests: pytest.Subtests) -> None:
    for _, _, operation in operations():
        with subtests.test(operation["operationId"]):
            sent = operation.get("requestBody", {}).get("content", {}).values()
            for part in (*operation.get("parameters", []), *sent):
                assert {"$ref", "type"} & part["schema"].keys(), part


def refs(described: object) -> Iterator[str]:
    """Name the schemas that a part of the document leads to, in one step."""
    if isinstance(described, dict):
        if "$ref" in described:
            yield described["$ref"].rpartition("/")[2]
        yield from (name for part in described.values() for name in refs(part))
    elif isinstance(described, list):
        yield from (name for part in described for name in refs(part))


def answers() -> set[str]:
    """Name the schemas of what is answered where nothing is wrong."""
    schemas = document()["components"]["schemas"]
    begin = [
        content["schema"]
        for _, _, operation in operations()
        for response in operation["responses"].values()
        for media_type, content in response.get("content", {}).items()
        if media_type == "application/json"
    ]
    found: set[str] = set()
    coming = set(refs(begin))
    while coming:
        found |= coming
        coming = {name for known in coming for name in refs(schemas[known])} - found
    return found


def test_each_member_of_an_answer_is_always_there(subtests: pytest.Subtests) -> None:
    for name in answers():
        with subtests.test(name):
            described = document()["components"]["schemas"][name]
            assert described.get("required", []) == list(described.get("properties", ()))


def test_what_a_problem_leaves_out_is_never_null() -> None:
    for name in ("Problem", "InvalidPart"):
        described = document()["components"]["schemas"][name]
        assert len(described["required"]) < len(described["properties"])
        assert "null" not in json.dumps(described)


def test_each_problem_has_an_example_that_is_one(subtests: pytest.Subtests) -> None:
    for _, _, operation in operations():
        with subtests.test(operation["operationId"]):
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                for code, example in content.get(PROBLEM, {}).get("examples", {}).items():
                    assert errors_of(example["value"], schema("Problem")) == []
                    assert example["value"]["type"] == f"/problems/{code}"
                    assert example["value"]["status"] == PROBLEM_TYPES[code].status == int(status)


def test_every_kind_of_problem_is_somewhere_in_the_document() -> None:
    found = {
        code
        for _, _, operation in operations()
        for response in operation["responses"].values()
        for code in response.get("content", {}).get(PROBLEM, {}).get("examples", {})
    }
    # these belong to no operation: no such path, no such method, no start, no end of headers
    elsewhere = {"not_found", "method_not_allowed", "schema_outdated", "head_too_large"}
    assert found == PROBLEM_TYPES.keys() - elsewhere


def test_the_examples_of_a_schema_are_valid(subtests: pytest.Subtests) -> None:
    for name, described in document()["components"]["schemas"].items():
        with subtests.test(name):
            examples = described.get("examples", [])
            for example in examples:
                assert errors_of(example, schema(name)) == []
            for member, property_ in described.get("properties", {}).items():
                for example in property_.get("examples", []):
                    assert errors_of(example, property_) == [], member
            if name.endswith(("In", "Patch")) or name in ("ProjectOut", "SessionOut", "MessageOut"):
                assert examples


def request_examples() -> Iterator[tuple[str, str, Json]]:
    """Give method, path and body of each example of a request."""
    for path, method, operation in operations():
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            references = [body, *body.get("anyOf", [])]
            [name] = [ref["$ref"].rsplit("/", 1)[1] for ref in references if "$ref" in ref]
            for example in document()["components"]["schemas"][name]["examples"]:
                yield method, path, example


def test_every_example_of_a_request_works(
    client: TestClient, idle: TestClient, subtests: pytest.Subtests
) -> None:
    for method, path, example in request_examples():
        with subtests.test(f"{method} {path}", example=example):
            # only a message that is queued can be changed, and only one that has ended be forked
            queued = "{message_id}" in path and not path.endswith("/fork")
            service = idle if queued else client
            project_id = new_project(service)
            known = {"project_id": project_id, "session_id": new_session(service, project_id)}
            if "{message_id}" in path:
                sent = send(service, known["session_id"], headers=ASYNC if queued else None)
                known["message_id"] = sent.json()["message_id"]
            answer = service.request(method, path.format(**known), json=example)
            assert answer.status_code in (200, 201), answer.text


def test_the_answers_to_get_are_as_documented(client: TestClient) -> None:
    project_id = new_project(client)
    session_id = new_session(client, project_id)
    sent = send(client, session_id, "Create a triage agent").json()
    known = {
        "project_id": project_id,
        "session_id": session_id,
        "message_id": sent["message_id"],
        "trace_id": sent["trace_id"],
        "number": 2,
        "code": "expired",
        "webhook_id": new_delivery(client, project_id, session_id)[0],
    }
    for path, method, _ in operations():
        if method == "get":  # the client compares the answer with the document
            status = client.get(path.format(**known)).status_code
            assert status == 200, path
