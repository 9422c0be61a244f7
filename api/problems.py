"""Every error as an RFC 9457 problem: the table of types, and the handlers of FastAPI."""

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from shared import errors
from shared.database import DatabaseAway
from shared.errors import FailureCode, VibeCoderError
from shared.logging import get_logger

MEDIA_TYPE = "application/problem+json"
_MOST_PARTS = 20
_LONGEST_POINTER = 200
_log = get_logger(__name__)


@dataclass(frozen=True)
class ProblemType:
    """A type of problem (RFC 9457): its code for programs, its HTTP status, its text for people."""

    code: str
    status: HTTPStatus
    title: str
    meaning: str


Cause = type[VibeCoderError] | FailureCode | HTTPStatus
"""An error of ours, the failure of a message, or a bare HTTP status of the framework."""


def _of_status(status: HTTPStatus, meaning: str) -> ProblemType:
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    return ProblemType(code, status, status.phrase, meaning)


_TYPES: dict[Cause, ProblemType] = {
    **{
        error: ProblemType(error.code, HTTPStatus(status), title, error.__doc__ or title)
        for error, status, title in (
            (errors.KeyRequired, 401, "Key required"),
            (errors.RoleInsufficient, 403, "Role insufficient"),
            (errors.ProjectNotFound, 404, "Project not found"),
            (errors.SessionNotFound, 404, "Session not found"),
            (errors.MessageNotFound, 404, "Message not found"),
            (errors.TraceNotFound, 404, "Trace not found"),
            (errors.RevisionNotFound, 404, "Revision not found"),
            (errors.WebhookNotFound, 404, "Webhook not found"),
            (errors.DeliveryNotFound, 404, "Delivery not found"),
            (errors.SessionBusy, 409, "Session busy"),
            (errors.MessageNotQueued, 409, "Message not queued"),
            (errors.MessageUnfinished, 409, "Message unfinished"),
            (errors.MemoryIncomplete, 409, "Memory incomplete"),
            (errors.WebhooksFull, 409, "Webhooks full"),
            (errors.RevisionMismatch, 412, "Revision mismatch"),
            (errors.BodyTooSlow, 408, "Request timeout"),
            (errors.BodyTooLarge, 413, "Body too large"),
            (errors.HeadTooLarge, 431, "Head too large"),
            (errors.InvalidRequest, 422, "Invalid request"),
            (errors.InvalidWorkflow, 422, "Invalid workflow"),
            (errors.IdempotencyKeyReused, 422, "Idempotency key reused"),
            (errors.RateLimited, 429, "Rate limited"),
            (errors.SessionQueueFull, 429, "Session queue full"),
            (errors.ProjectQueueFull, 429, "Project queue full"),
            (errors.ServiceQueueFull, 503, "Service queue full"),
            (errors.TooManyBodies, 503, "Too many bodies"),
            (errors.ServiceUnavailable, 503, "Service unavailable"),
            (errors.SchemaOutdated, 503, "Schema outdated"),
        )
    },
    **{
        code: ProblemType(code.value, HTTPStatus(status), title, meaning)
        for code, status, title, meaning in (
            (
                FailureCode.MODEL_ERROR,
                502,
                "The model failed",
                "The model's server failed, or its answer could not be used.",
            ),
            (
                FailureCode.MODEL_OVERLOADED,
                503,
                "The model is overloaded",
                "The model's server had no capacity, also when it was asked again.",
            ),
            (
                FailureCode.MODEL_REJECTED,
                422,
                "The model's server rejected the request",
                "The model's server would not take the request: too long, or not allowed.",
            ),
            (
                FailureCode.MODEL_REFUSED,
                422,
                "The model refused",
                "The model declined to do what the prompt asks for.",
            ),
            (
                FailureCode.OUTPUT_TRUNCATED,
                422,
                "The answer was cut off",
                "The model reached a limit of its output before its answer was whole.",
            ),
            (
                FailureCode.HISTORY_REJECTED,
                422,
                "The model's server rejected the history",
                "The model's server refuses what the conversation remembers.",
            ),
            (
                FailureCode.MODEL_TIMEOUT,
                504,
                "The model took too long",
                (
                    "A call of the model, or the next piece of a stream, "
                    "did not come within its limit."
                ),
            ),
            (
                FailureCode.TOOL_TIMEOUT,
                504,
                "A tool took too long",
                "A call of a tool did not end within its limit.",
            ),
            (
                FailureCode.RUN_TIMEOUT,
                504,
                "The run took too long",
                "The whole run did not end within its limit.",
            ),
            (
                FailureCode.MAX_TURNS,
                422,
                "Too many turns",
                "The model did not come to an end within the allowed number of calls.",
            ),
            (
                # not 429: clients repeat that by themselves, and waiting does not help
                FailureCode.BUDGET_EXCEEDED,
                402,
                "Budget used up",
                "The session or its project has spent what it may; what was begun is not kept.",
            ),
            (
                FailureCode.MODEL_NOT_PRICED,
                422,
                "Model without a price",
                "A budget in money cannot be held with a model whose price is not known.",
            ),
            (
                FailureCode.USAGE_UNKNOWN,
                422,
                "Usage unknown",
                "A budget cannot be held with a model whose server does not say what a call used.",
            ),
            (
                FailureCode.CODE_CONFLICT,
                409,
                "Code conflict",
                "Other sessions kept changing the same code meanwhile.",
            ),
            (
                FailureCode.WORKER_LOST,
                503,
                "Worker lost",
                "The workers that ran the message died or vanished.",
            ),
            (
                FailureCode.EXPIRED,
                503,
                "Waited too long",
                "No worker had time for the message within the limit.",
            ),
            (
                FailureCode.CANCELLED,
                409,
                "Cancelled",
                "Someone cancelled the message, or cleared or deleted what it belongs to.",
            ),
            (
                FailureCode.WITHDRAWN,
                409,
                "Withdrawn",
                "Someone withdrew the message before a worker had begun it.",
            ),
            (
                FailureCode.INTERNAL,
                500,
                "Internal error",
                "The service failed for a reason of its own.",
            ),
        )
    },
    **{
        status: _of_status(status, meaning)
        for status, meaning in (
            (
                HTTPStatus.BAD_REQUEST,
                "The request cannot be read: its body is no text in UTF-8, for example.",
            ),
            (HTTPStatus.NOT_FOUND, "There is nothing at this path."),
            (HTTPStatus.METHOD_NOT_ALLOWED, "The path does not know this method."),
            (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be `application/json`."),
        )
    },
}

PROBLEM_TYPES = {known.code: known for known in _TYPES.values()}
"""Every type of problem by its code."""


def problem_type(cause: Cause) -> ProblemType:
    """Look up the type of problem that answers an error, a failure or an HTTP status."""
    if isinstance(cause, HTTPStatus):
        return _TYPES.get(cause) or _of_status(cause, cause.description)
    return _TYPES[cause]


def problem(request: Request, error: VibeCoderError) -> JSONResponse:
    """Render one of our own errors as a problem."""
    found, members = _typed(error)
    return _render(request, found, error.detail, **members)


def problem_members(error: VibeCoderError, *, path: str, trace_id: str) -> dict[str, Any]:
    """Return the members of an error's problem document, for a stream that has begun."""
    found, members = _typed(error)
    return _body(found, error.detail, path=path, trace_id=trace_id) | members


def _typed(error: VibeCoderError) -> tuple[ProblemType, dict[str, Any]]:
    members = dict(error.extra)
    if not isinstance(error, errors.MessageFailed):
        return problem_type(type(error)), members
    failure = error.failure
    members |= {"retryable": failure["retryable"], "retry_after": failure["retry_after"]}
    return problem_type(FailureCode(failure["code"])), members


def _render(
    request: Request,
    found: ProblemType,
    detail: str,
    *,
    retry_after: float | None = None,
    **members: Any,
) -> JSONResponse:
    body = _body(found, detail, path=request.scope["path"], trace_id=request.state.trace_id)
    headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    if found.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="vibecoder"'
    return JSONResponse(
        body | members, status_code=found.status, media_type=MEDIA_TYPE, headers=headers
    )


def _body(found: ProblemType, detail: str, *, path: str, trace_id: str) -> dict[str, Any]:
    return {
        "type": f"/problems/{found.code}",
        "title": found.title,
        "status": int(found.status),
        "detail": detail,
        "instance": quote(path),
        "trace_id": trace_id,
        "code": found.code,
    }


def install(app: FastAPI) -> None:
    """Install the handlers of errors; RequestContext passes every other error to `unexpected`."""
    app.add_exception_handler(VibeCoderError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, VibeCoderError)
    return problem(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # it was not read as JSON
        found = problem_type(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        return _render(request, found, "Send the body as JSON: `Content-Type: application/json`.")
    parts = [_part(item) for item in error.errors()[:_MOST_PARTS]]
    named = parts[0].get("pointer") or parts[0].get("parameter")
    return problem(
        request,
        errors.InvalidRequest(f"{named}: {parts[0]['detail']}", errors=parts),
    )


def _part(item: dict[str, Any]) -> dict[str, Any]:
    """Name the place and the mistake, without the value: it may be a secret or a megabyte."""
    place, *path = item["loc"]
    detail = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        return {"pointer": "#", "detail": f"This is not JSON: {item['ctx']['error']}."}
    if place == "body":
        return {"pointer": _pointer(path), "detail": detail}
    return {"parameter": str(path[0]) if path else str(place), "detail": detail}


def _pointer(path: list[str | int]) -> str:
    """Write a JSON pointer as a URI fragment; the names are the client's."""
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path]
    pointer = "#" + "".join(f"/{quote(step, errors='replace')}" for step in steps)
    return pointer[:_LONGEST_POINTER]


async def _plain(request: Request, error: Exception) -> JSONResponse:
    """Render the errors that Starlette and FastAPI raise."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NOT_FOUND:
            detail = f"There is nothing at {request.url.path}. The API is described at /docs."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"{request.method} is not possible here. The API is described at /docs."
        case HTTPStatus.BAD_REQUEST:
            detail = "The body cannot be read as JSON: it must be UTF-8 and not nested too deeply."
        case _:
            detail = str(error.detail)
    response = _render(request, problem_type(status), detail)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """List the methods of a path: Starlette's error names only those of one of its routes."""

    def known(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in ("DELETE", "GET", "PATCH", "POST", "PUT") if known(method)]


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Render any other error: a lost database, or a defect of the service."""
    if not _database_lost(error):
        _log.error("request failed", path=request.url.path, exc_info=error)
        return _render(
            request,
            problem_type(FailureCode.INTERNAL),
            "The service failed for a reason of its own. Its operator finds it by the trace id.",
        )
    _log.warning("database lost", error=type(error).__name__)
    return problem(
        request,
        errors.ServiceUnavailable(
            "The database cannot be reached. Try again; with an Idempotency-Key a message that "
            "was accepted after all is not sent twice.",
            retry_after=1,
        ),
    )


def _database_lost(error: Exception) -> bool:
    return isinstance(error, DatabaseAway | OperationalError | InterfaceError)
