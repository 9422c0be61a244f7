"""What the OpenAPI document allows and forbids, made and judged by schemathesis, all checks."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any, cast

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import CHECKS, CheckFunction, load_all_checks

from tests.api.calls import new_delivery, new_project, new_session, send
from tests.api.document import document, operations
from tests.stateful import fewer

load_all_checks()
_ALL = cast(list[CheckFunction], CHECKS.get_all())
_ACCEPTED = cast(CheckFunction, CHECKS.get_one("positive_data_acceptance"))
_STREAM = "text/event-stream"
_GONE = cast(CheckFunction, CHECKS.get_one("use_after_free"))


def readable() -> dict[str, Any]:
    """Give it a document of its own to write into, where streams have the schema of each event."""
    own = deepcopy(document())
    for path in own["paths"].values():
        for operation in path.values():
            if stream := operation["responses"].get("200", {}).get("content", {}).get(_STREAM):
                stream["schema"] = stream["schema"]["contentSchema"]
    return own


_SCHEMA = schemathesis.openapi.from_dict(readable())
_OPERATIONS = [operation for _, _, operation in operations()]
_NAMES = [operation["operationId"] for operation in _OPERATIONS]
_WITH_INPUT = [o["operationId"] for o in _OPERATIONS if {"parameters", "requestBody"} & o.keys()]

# What a document cannot say: well-formed, and refused all the same. By problem, or by what the
# problem names.
_REFUSED_BY_DESIGN = {
    "after": "cursors are opaque; each list takes only those that it gave",
    "to": "a period that ends before it begins is none",
    "#/model": "which models there are is a setting",
    "#/url": "which addresses webhooks may call is a setting",
    "#/name": "a name of blanks alone is none; the pattern for it would be unreadable",
    "invalid_workflow": "that Python code is a workflow is no matter of its form",
    "revision_mismatch": "`If-Match` is there to be refused when it is out of date",
    "idempotency_key_reused": "a key is refused when it comes with another prompt",
}


@pytest.fixture(scope="module")
def known(live: httpx2.Client) -> dict[str, Any]:
    """Give what is there for every parameter of a path."""
    project_id = new_project(live)
    session_id = new_session(live, project_id)
    sent = send(live, session_id).json()
    named = {"project_id": project_id, "session_id": session_id}
    named |= {"message_id": sent["message_id"], "trace_id": sent["trace_id"]}
    webhook_id, delivery_id = new_delivery(live, project_id, session_id)
    named |= {"webhook_id": webhook_id, "delivery_id": delivery_id}
    return named | {"number": 1, "code": "expired"}


@pytest.fixture(scope="module")
def direct() -> Iterator[requests.Session]:
    """Give connections that ask no proxy."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@cache
def operation_named(name: str) -> Any:
    return _SCHEMA.find_operation_by_id(name)


def judge(case: Case[Any], response: Response) -> None:
    """Let every check look at an answer but those that are wrong here by design."""
    excluded: list[CheckFunction] = []
    if response.status_code in {412, 422} and refused_by_design(response.json()):
        excluded.append(_ACCEPTED)
    if case.operation.definition.raw["operationId"] == "get_session":
        excluded.append(_GONE)  # DELETE /sessions/{id} clears it, and it can be used again
    assert response.status_code < 500, response.text
    case.validate_response(response, checks=_ALL, excluded_checks=excluded)


def refused_by_design(problem: dict[str, Any]) -> bool:
    named = {error.get("pointer") or error.get("parameter") for error in problem.get("errors", [])}
    return bool({problem["code"], *named} & _REFUSED_BY_DESIGN.keys())


@pytest.mark.parametrize("name", _NAMES)
def test_what_the_document_allows_is_answered_as_it_says(
    live: httpx2.Client, direct: requests.Session, known: dict[str, Any], name: str
) -> None:
    allowed = operation_named(name).as_strategy(generation_mode=GenerationMode.POSITIVE)

    @fewer()
    @given(case=allowed, there=st.booleans())
    def holds(case: Case[Any], there: bool) -> None:
        if there:
            case.path_parameters = {k: known[k] for k in case.path_parameters}
        judge(case, case.call(base_url=str(live.base_url), session=direct))

    holds()


@pytest.mark.parametrize("name", _WITH_INPUT)
def test_what_the_document_forbids_is_refused_as_it_says(
    live: httpx2.Client, direct: requests.Session, name: str
) -> None:
    forbidden = operation_named(name).as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @fewer()
    @given(case=forbidden)
    def holds(case: Case[Any]) -> None:
        judge(case, case.call(base_url=str(live.base_url), session=direct))

    holds()


def test_calls_that_follow_from_one_another_are_answered_as_the_document_says(
    live: httpx2.Client, direct: requests.Session
) -> None:
    class Chains(_SCHEMA.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"base_url": str(live.base_url), "session": direct}

        def validate_response(self, response: Response, case: Case[Any], **_: Any) -> None:
            judge(case, response)

    Chains.run(settings=fewer(stateful_step_count=15))
