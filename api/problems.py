"""Every error as an RFC 9457 problem: one table, and what leads to it."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shared import errors
from shared.database import CommitUnknownError
from shared.errors import FailureCode, VibeCoderError
from shared.logging import get_logger

_log = get_logger(__name__)

STATUSES: dict[type[VibeCoderError], tuple[HTTPStatus, str]] = {
    errors.ProjectNotFound: (HTTPStatus.NOT_FOUND, "Project not found"),
    errors.SessionNotFound: (HTTPStatus.NOT_FOUND, "Session not found"),
    errors.MessageNotFound: (HTTPStatus.NOT_FOUND, "Message not found"),
    errors.RevisionNotFound: (HTTPStatus.NOT_FOUND, "Revision not found"),
    errors.InvalidRequest: (HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid request"),
    errors.InvalidWorkflow: (HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid workflow"),
    errors.BodyTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Body too large"),
    errors.RevisionMismatch: (HTTPStatus.PRECONDITION_FAILED, "Revision mismatch"),
    errors.SessionBusy: (HTTPStatus.CONFLICT, "Session busy"),
    errors.IdempotencyKeyReused: (HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency key reused"),
    errors.SessionQueueFull: (HTTPStatus.TOO_MANY_REQUESTS, "Session queue full"),
    errors.ProjectQueueFull: (HTTPStatus.TOO_MANY_REQUESTS, "Project queue full"),
    errors.ServiceQueueFull: (HTTPStatus.SERVICE_UNAVAILABLE, "Service queue full"),
    errors.ServiceUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "Service unavailable"),
    errors.SchemaOutdated: (HTTPStatus.SERVICE_UNAVAILABLE, "Schema outdated"),
}

FAILURES: dict[FailureCode, tuple[HTTPStatus, str]] = {
    FailureCode.MODEL_ERROR: (HTTPStatus.BAD_GATEWAY, "The model failed"),
    FailureCode.MODEL_OVERLOADED: (HTTPStatus.SERVICE_UNAVAILABLE, "The model is overloaded"),
    FailureCode.MODEL_REJECTED: (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The model's server rejected the request",
    ),
    FailureCode.MODEL_REFUSED: (HTTPStatus.UNPROCESSABLE_ENTITY, "The model refused"),
    FailureCode.MODEL_TIMEOUT: (HTTPStatus.GATEWAY_TIMEOUT, "The model took too long"),
    FailureCode.TOOL_TIMEOUT: (HTTPStatus.GATEWAY_TIMEOUT, "A tool took too long"),
    FailureCode.RUN_TIMEOUT: (HTTPStatus.GATEWAY_TIMEOUT, "The run took too long"),
    FailureCode.MAX_TURNS: (HTTPStatus.UNPROCESSABLE_ENTITY, "Too many turns"),
    FailureCode.CODE_CONFLICT: (HTTPStatus.CONFLICT, "Code conflict"),
    FailureCode.WORKER_LOST: (HTTPStatus.SERVICE_UNAVAILABLE, "Worker lost"),
    FailureCode.EXPIRED: (HTTPStatus.SERVICE_UNAVAILABLE, "Waited too long"),
    FailureCode.CANCELLED: (HTTPStatus.CONFLICT, "Cancelled"),
    FailureCode.INTERNAL: (HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error"),
}

MEDIA_TYPE = "application/problem+json"


class InvalidPart(BaseModel):
    """One thing that is wrong with a request: where, and what."""

    pointer: str | None = Field(None, description="JSON pointer into the body.")
    parameter: str | None = Field(None, description="Name of the query, path or header parameter.")
    line: int | None = Field(None, description="Line of the workflow module.")
    detail: str = Field(description="What is wrong there.")


class Problem(BaseModel):
    """An RFC 9457 problem; some kinds have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The kind of problem, as a relative URI.")
    title: str = Field(description="The kind of problem, for a person.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened and what to do.")
    instance: str = Field(description="The path of the request.")
    trace_id: str = Field(description="Finds the request in the logs; `X-Trace-Id` equals it.")
    code: str = Field(description="The kind of problem, for a program.")
    errors: list[InvalidPart] | None = Field(None, description="What is wrong with the request.")
    message_id: str | None = Field(None, description="The message that ended without a reply.")
    retryable: bool | None = Field(None, description="Whether the same message may succeed later.")


def problem(request: Request, error: VibeCoderError) -> JSONResponse:
    """Render one of our own errors."""
    if isinstance(error, errors.MessageFailed):
        failure = error.failure
        status, title = FAILURES[FailureCode(failure["code"])]
        members = error.extra | {"retryable": failure["retryable"]}
        return _render(
            request, status, title, failure["code"], error.detail, failure["retry_after"], members
        )
    status, title = STATUSES[type(error)]
    members = dict(error.extra)
    retry_after = members.pop("retry_after", None)
    return _render(request, status, title, error.code, error.detail, retry_after, members)


def _render(
    request: Request,
    status: int,
    title: str,
    code: str,
    detail: str,
    retry_after: float | None = None,
    members: dict[str, Any] | None = None,
) -> JSONResponse:
    body = {
        "type": f"/problems/{code}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "instance": request.url.path,
        "trace_id": request.state.trace_id,
        "code": code,
    }
    headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after)))}
    return JSONResponse(
        body | (members or {}), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def install(app: FastAPI) -> None:
    """Let errors become problems; what has no handler here, `unexpected` answers."""
    app.add_exception_handler(VibeCoderError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, VibeCoderError)
    return problem(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    parts = [_part(item) for item in error.errors()]
    named = parts[0].get("pointer") or parts[0].get("parameter")
    return problem(
        request,
        errors.InvalidRequest(f"{named}: {parts[0]['detail']}", errors=parts),
    )


def _part(item: dict[str, Any]) -> dict[str, Any]:
    """Say where and what, without the value: it may be a secret or a megabyte."""
    place, *path = item["loc"]
    detail = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        return {"pointer": "#", "detail": f"This is not JSON: {item['ctx']['error']}."}
    if place == "body":
        steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path]
        return {"pointer": "#" + "".join(f"/{step}" for step in steps), "detail": detail}
    return {"parameter": str(path[0]) if path else str(place), "detail": detail}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NOT_FOUND:
            detail = f"There is nothing at {request.url.path}. The API is described at /docs."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"{request.method} is not possible here. The API is described at /docs."
        case _:
            detail = str(error.detail)
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    response = _render(request, status, status.phrase, code, detail)
    response.headers.update(error.headers or {})
    return response


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Render everything else: a database that is away, or a defect."""
    if not _database_lost(error):
        _log.error("request failed", path=request.url.path, exc_info=error)
        return _render(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "Internal error",
            "internal",
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
    refused = isinstance(error, OperationalError | InterfaceError)
    broken = isinstance(error, DBAPIError) and error.connection_invalidated
    return refused or broken or isinstance(error, CommitUnknownError | PoolTimeout)


def problems(*kinds: type[VibeCoderError] | FailureCode) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI which problems a route answers with; 422 and 500 come by themselves."""
    found: dict[HTTPStatus, list[tuple[str, str]]] = {}
    for kind in (*kinds, errors.InvalidRequest, errors.ServiceUnavailable, FailureCode.INTERNAL):
        known = FAILURES[kind] if isinstance(kind, FailureCode) else STATUSES[kind]
        code = str(kind) if isinstance(kind, FailureCode) else kind.code
        found.setdefault(known[0], []).append((code, known[1]))
    return {int(status): _described(status, known) for status, known in sorted(found.items())}


def _described(status: HTTPStatus, kinds: list[tuple[str, str]]) -> dict[str, Any]:
    examples = {
        code: {
            "summary": title,
            "value": {
                "type": f"/problems/{code}",
                "title": title,
                "status": int(status),
                "detail": f"{title}. What to do stands here.",
                "instance": "/the/path/of/the/request",
                "trace_id": "trace_0123456789abcdef0123456789abcdef",
                "code": code,
            },
        }
        for code, title in kinds
    }
    return {
        "description": "; ".join(title for _, title in kinds),
        "model": Problem,
        "content": {MEDIA_TYPE: {"examples": examples}},
    }
