"""From an exception to a failure: the one place that says why a message ended without a reply."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
from agents.exceptions import (
    AgentsException,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelRefusalError,
    ModelTimeoutError,
    ToolTimeoutError,
)
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

from shared.errors import Failure, FailureCode

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z_]{1,49}")
_DAY_S = 86_400
_SERVER_ERRORS = range(500, 600)
QUOTA = "insufficient_quota"
LARGEST_ANSWER = 32 * 2**20
"""In bytes, unpacked. A stream of 128,000 tokens has about as many."""


class CodeConflict(Exception):
    """The project's code moved while the run edited it, and the edits do not apply any more."""


class ModelUnavailable(Exception):
    """The model needs a server and the settings name none."""


class UnusableAnswer(Exception):
    """The model's server sent what is not an answer; the cause says what broke."""


class EmptyAnswer(UnusableAnswer):
    """The model's answer has no text and no call."""


class AnswerTooLarge(UnusableAnswer):
    """The model's server sent more than the largest answer that is read."""


class AnswerTruncated(Exception):
    """A limit cut the model's answer off; `limit` is its name."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class HistoryRejected(Exception):
    """The model's server refused the conversation, without ids and reasoning too; see the cause."""


class EditRepeated(AgentsException):
    """The model sends an edit again and again that was refused."""

    failure = Failure(
        FailureCode.MAX_TURNS,
        "The model repeated an edit that cannot be applied, so the run was ended. "
        "Put the request in other words, or name another model.",
        retryable=False,
    )


class OverBudget(Exception):
    """A budget does not allow another call of the model; `failure` says which and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


# the old key would only replay the failure
_AGAIN = "Send the message again with a new key."

_CODE_CONFLICT = Failure(
    FailureCode.CODE_CONFLICT,
    f"Another session changed the same code meanwhile, so nothing was kept. {_AGAIN}",
    retryable=True,
)
_NO_SERVER = Failure(
    FailureCode.MODEL_REJECTED,
    "This service has no server for that model. Name another model, "
    "or set OPENAI_API_KEY or OPENAI_BASE_URL.",
    retryable=False,
)
_NO_ANSWER_IN_TIME = Failure(
    FailureCode.MODEL_TIMEOUT, f"The model did not answer in time. {_AGAIN}", retryable=True
)
_NO_CONNECTION = Failure(
    FailureCode.MODEL_ERROR,
    f"The connection to the model's server failed. {_AGAIN}",
    retryable=True,
)
_UNUSABLE = Failure(
    FailureCode.MODEL_ERROR, f"The model's answer could not be used. {_AGAIN}", retryable=True
)
_EMPTY = Failure(
    FailureCode.MODEL_ERROR,
    f"The model's answer was empty, also when it was asked again. {_AGAIN}",
    retryable=True,
)
_TOO_LARGE = Failure(
    FailureCode.MODEL_ERROR,
    f"The model's server sent an answer of more than {LARGEST_ANSWER // 2**20} MiB, the limit of "
    "this service, so it was not read. Ask for a smaller step, or name another model.",
    retryable=False,
)
_TRUNCATED = Failure(
    FailureCode.OUTPUT_TRUNCATED,
    "The model's answer was cut off at its limit of output ({}). Ask for a smaller step, or name "
    "a model that may write more.",
    retryable=False,
)
_REFUSED = Failure(
    FailureCode.MODEL_REFUSED,
    "The model refused to answer. Put the request in other words.",
    retryable=False,
)
_MAX_TURNS = Failure(
    FailureCode.MAX_TURNS,
    "The model did not finish within the allowed number of turns. Ask for a smaller step.",
    retryable=False,
)
_TOOL_TIMEOUT = Failure(
    FailureCode.TOOL_TIMEOUT, f"A tool did not finish in time. {_AGAIN}", retryable=True
)
_RUN_TIMEOUT = Failure(
    FailureCode.RUN_TIMEOUT,
    "The message took longer than one run may take. Ask for a smaller step, or send it again "
    "with a new key.",
    retryable=True,
)
_INTERNAL = Failure(
    FailureCode.INTERNAL,
    "The service failed for a reason of its own. Its operator finds it in the log by the trace id.",
    retryable=False,
)


_BY_KIND: tuple[tuple[tuple[type[BaseException], ...], Failure], ...] = (
    ((APITimeoutError, ModelTimeoutError, httpx2.TimeoutException), _NO_ANSWER_IN_TIME),
    ((APIConnectionError, httpx2.TransportError), _NO_CONNECTION),
    ((EmptyAnswer,), _EMPTY),
    ((AnswerTooLarge,), _TOO_LARGE),
    ((OpenAIError, ModelBehaviorError, UnusableAnswer), _UNUSABLE),
    ((ModelRefusalError,), _REFUSED),
    ((ModelUnavailable,), _NO_SERVER),
    ((MaxTurnsExceeded,), _MAX_TURNS),
    ((ToolTimeoutError,), _TOOL_TIMEOUT),
    ((TimeoutError,), _RUN_TIMEOUT),
    ((CodeConflict,), _CODE_CONFLICT),
)
"""The first that fits counts."""


def failure_from(error: BaseException) -> Failure:
    """Say why a run failed, without prompts, keys or the words of the model's server."""
    match error:
        case APIStatusError():
            return _from_status(error)
        case HistoryRejected():
            return _from_rejected_history(error)
        case AnswerTruncated():
            return replace(_TRUNCATED, detail=_TRUNCATED.detail.format(_limit_of(error)))
        case OverBudget() | EditRepeated():
            return error.failure
        case _:
            return next((why for kinds, why in _BY_KIND if isinstance(error, kinds)), _INTERNAL)


def without_edits(failure: Failure, edits: int) -> Failure:
    """Add that the code is as it was, if the run had changed its copy."""
    if not edits:
        return failure
    lost = "the edit" if edits == 1 else f"the {edits} edits"
    kept = f"Nothing was kept: the code is as it was, without {lost} that this run had made."
    return replace(failure, detail=f"{failure.detail} {kept}")


# What a status of the model's server means; `{}` takes the status and the server's name for it.
_OVERLOADED = Failure(
    FailureCode.MODEL_OVERLOADED,
    "The model's server is overloaded ({}). Send the message again later with a new key.",
    retryable=True,
)
_NO_QUOTA = Failure(
    FailureCode.MODEL_OVERLOADED,
    "The service's quota at the model's server is used up ({}). Waiting does not help: "
    "the service's operator must raise it.",
    retryable=False,
)
_KEY_REFUSED = Failure(
    FailureCode.MODEL_ERROR,
    "The model's server refused the service's key ({}). "
    "The service's operator must check OPENAI_API_KEY.",
    retryable=False,
)
_NOT_FOUND = Failure(
    FailureCode.MODEL_REJECTED,
    "The model was not found on its server ({}). Name another model; "
    "if none is found, the service's operator must check OPENAI_BASE_URL.",
    retryable=False,
)
_REJECTED = Failure(
    FailureCode.MODEL_REJECTED,
    "The model's server rejected the request ({}). Change the prompt or name another model.",
    retryable=False,
)
_HISTORY_REJECTED = Failure(
    FailureCode.HISTORY_REJECTED,
    "The model's server refuses what the conversation remembers ({}), also without the ids and the "
    "reasoning in it. Name another model, fork an earlier message (POST /messages/{{id}}/fork), or "
    "clear the session (DELETE /sessions/{{id}}).",
    retryable=False,
)
_TOO_LONG = Failure(
    FailureCode.MODEL_REJECTED,
    "The conversation is too long for the model ({}). Clear the session or start a new one.",
    retryable=False,
)
_SERVER_TIMEOUT = replace(
    _NO_ANSWER_IN_TIME, detail=f"The model's server gave up waiting ({{}}). {_AGAIN}"
)
_SERVER_ERROR = Failure(
    FailureCode.MODEL_ERROR, f"The model's server failed ({{}}). {_AGAIN}", retryable=True
)
_UNEXPECTED = Failure(
    FailureCode.MODEL_ERROR,
    "The model's server answered with an unexpected status ({}). "
    "The service's operator must check OPENAI_BASE_URL.",
    retryable=False,
)
_BY_STATUS = {
    400: _REJECTED,
    401: _KEY_REFUSED,
    403: _KEY_REFUSED,
    404: _NOT_FOUND,
    408: _SERVER_TIMEOUT,
    409: _SERVER_ERROR,
    413: _TOO_LONG,
    422: _REJECTED,
    429: _OVERLOADED,
    503: _OVERLOADED,
    529: _OVERLOADED,
}
_BY_CODE = {QUOTA: _NO_QUOTA, "context_length_exceeded": _TOO_LONG}


def _from_status(error: APIStatusError) -> Failure:
    status = error.status_code
    by_range = _SERVER_ERROR if status in _SERVER_ERRORS else _UNEXPECTED
    failure = _BY_CODE.get(str(error.code)) or _BY_STATUS.get(status, by_range)
    return replace(
        failure,
        detail=failure.detail.format(_named(error)),
        retry_after=retry_after(error.response.headers) if failure.retryable else None,
    )


def _from_rejected_history(error: HistoryRejected) -> Failure:
    cause = error.__cause__
    named = _named(cause) if isinstance(cause, APIStatusError) else "no reason given"
    return replace(_HISTORY_REJECTED, detail=_HISTORY_REJECTED.detail.format(named))


def _limit_of(error: AnswerTruncated) -> str:
    return error.limit if _IDENTIFIER.fullmatch(error.limit) else "unnamed"


def _named(error: APIStatusError) -> str:
    # The server's message may quote the prompt or the key; its identifiers cannot.
    for name in (error.code, error.type):
        if isinstance(name, str) and _IDENTIFIER.fullmatch(name):
            return f"{error.status_code} {name}"
    return str(error.status_code)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read when to come back, in seconds: `retry-after-ms`, or `Retry-After` in either form.

    What is not a number or a date, negative or longer than a day counts as not said.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    value = headers.get("retry-after", "")
    seconds = _number(value) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        seconds = _seconds_until(value)
    return seconds if seconds is not None and 0 <= seconds <= _DAY_S else None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)
