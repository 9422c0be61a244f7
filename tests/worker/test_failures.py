"""Every way in which a run may end badly has one failure, and none repeats what it should not."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from agents.exceptions import (
    AgentsException,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelRefusalError,
    ModelTimeoutError,
    ToolTimeoutError,
    UserError,
)
from openai import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    OpenAIError,
    RateLimitError,
)

from shared.errors import Failure, FailureCode
from worker.failures import (
    CodeConflict,
    ModelUnavailable,
    UnusableAnswer,
    failure_from,
    retry_after,
)

_REQUEST = httpx2.Request("POST", "http://model.test/v1/responses")
_SECRET = "the prompt and sk-proj-1234"


def _status(status: int, *, code: Any = None, kind: Any = None, **headers: str) -> APIStatusError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=_REQUEST)
    error = RateLimitError if status == 429 else APIStatusError
    body = {"message": _SECRET, "code": code, "type": kind}
    return error(_SECRET, response=response, body=body)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (_status(400), FailureCode.MODEL_REJECTED, False),
        (_status(413), FailureCode.MODEL_REJECTED, False),
        (_status(422), FailureCode.MODEL_REJECTED, False),
        (_status(404), FailureCode.MODEL_REJECTED, False),
        (_status(401), FailureCode.MODEL_ERROR, False),
        (_status(403), FailureCode.MODEL_ERROR, False),
        (_status(302), FailureCode.MODEL_ERROR, False),
        (_status(418), FailureCode.MODEL_ERROR, False),
        (_status(408), FailureCode.MODEL_TIMEOUT, True),
        (_status(409), FailureCode.MODEL_ERROR, True),
        (_status(429), FailureCode.MODEL_OVERLOADED, True),
        (_status(429, code="insufficient_quota"), FailureCode.MODEL_OVERLOADED, False),
        (_status(503), FailureCode.MODEL_OVERLOADED, True),
        (_status(529), FailureCode.MODEL_OVERLOADED, True),
        (_status(500), FailureCode.MODEL_ERROR, True),
        (_status(599), FailureCode.MODEL_ERROR, True),
        (APITimeoutError(_REQUEST), FailureCode.MODEL_TIMEOUT, True),
        (ModelTimeoutError(3), FailureCode.MODEL_TIMEOUT, True),
        (httpx2.ReadTimeout(_SECRET), FailureCode.MODEL_TIMEOUT, True),
        (APIConnectionError(message=_SECRET, request=_REQUEST), FailureCode.MODEL_ERROR, True),
        (httpx2.RemoteProtocolError(_SECRET), FailureCode.MODEL_ERROR, True),
        (APIError(_SECRET, _REQUEST, body=_SECRET), FailureCode.MODEL_ERROR, True),
        (
            APIResponseValidationError(httpx2.Response(200, request=_REQUEST), _SECRET),
            FailureCode.MODEL_ERROR,
            True,
        ),
        (OpenAIError(_SECRET), FailureCode.MODEL_ERROR, True),
        (ModelBehaviorError(_SECRET), FailureCode.MODEL_ERROR, True),
        (UnusableAnswer(_SECRET), FailureCode.MODEL_ERROR, True),
        (ModelRefusalError(_SECRET), FailureCode.MODEL_REFUSED, False),
        (ModelUnavailable(_SECRET), FailureCode.MODEL_REJECTED, False),
        (MaxTurnsExceeded(_SECRET), FailureCode.MAX_TURNS, False),
        (ToolTimeoutError(_SECRET, 1), FailureCode.TOOL_TIMEOUT, True),
        (TimeoutError(_SECRET), FailureCode.RUN_TIMEOUT, True),
        (CodeConflict(_SECRET), FailureCode.CODE_CONFLICT, True),
        (UserError(_SECRET), FailureCode.INTERNAL, False),
        (AgentsException(_SECRET), FailureCode.INTERNAL, False),
        (AttributeError(_SECRET), FailureCode.INTERNAL, False),
        (KeyboardInterrupt(_SECRET), FailureCode.INTERNAL, False),
    ],
    ids=repr,
)
def test_each_exception_has_its_failure_and_repeats_nobodys_words(
    error: BaseException, code: FailureCode, retryable: bool
) -> None:
    failure = failure_from(error)
    assert (failure.code, failure.retryable) == (code, retryable)
    assert failure.detail.endswith(".")
    assert _SECRET not in failure.detail
    assert "{" not in failure.detail


def test_the_servers_name_for_a_rejection_is_told() -> None:
    assert "(400 invalid_prompt)" in failure_from(_status(400, code="invalid_prompt")).detail
    assert "(422 invalid_type)" in failure_from(_status(422, kind="invalid_type")).detail


@pytest.mark.parametrize("name", [_SECRET, "sk-proj-1234", "x" * 51, 7, {"a": 1}, "", "a\nb"])
def test_a_name_that_is_no_identifier_is_not_told(name: object) -> None:
    assert "(400)" in failure_from(_status(400, code=name, kind=name)).detail


def test_a_conversation_that_is_too_long_says_what_to_do() -> None:
    for error in (_status(400, code="context_length_exceeded"), _status(413)):
        assert "Clear the session" in failure_from(error).detail


def test_an_overloaded_server_says_when_to_come_back() -> None:
    assert failure_from(_status(429, retry_after="7")).retry_after == 7
    assert failure_from(_status(503, retry_after="0.5")).retry_after == 0.5
    assert failure_from(_status(429)).retry_after is None
    assert failure_from(_status(400, retry_after="7")).retry_after is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00"}, 0),
        ({"retry-after": "Mon, 99 Jan 2024 00:00:00 GMT"}, None),
    ],
)
def test_the_time_to_come_back_is_read_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


def test_a_date_to_come_back_is_counted_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(60, abs=2)


def test_a_failure_is_kept_as_plain_json() -> None:
    failure = Failure(FailureCode.MAX_TURNS, "Too many.", retryable=False, retry_after=2)
    assert failure.to_json() == {
        "code": "max_turns",
        "detail": "Too many.",
        "retryable": False,
        "retry_after": 2,
    }
    assert type(failure.to_json()["code"]) is str
