"""Every error as an RFC 9457 problem; which kinds there are stands in api/kinds.py."""

import math
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

from api.kinds import Kind, kind_of
from shared import errors
from shared.database import DatabaseAway
from shared.errors import FailureCode, VibeCoderError
from shared.logging import get_logger

MEDIA_TYPE = "application/problem+json"
_MOST_PARTS = 20
_LONGEST_POINTER = 200
_log = get_logger(__name__)


def problem(request: Request, error: VibeCoderError) -> JSONResponse:
    """Render one of our own errors."""
    kind, members = _kind(error)
    return _render(request, kind, error.detail, **members)


def problem_members(error: VibeCoderError, *, path: str, trace_id: str) -> dict[str, Any]:
    """Return what the problem document of an error would hold, for an answer that has begun."""
    kind, members = _kind(error)
    return _body(kind, error.detail, path=path, trace_id=trace_id) | members


def _kind(error: VibeCoderError) -> tuple[Kind, dict[str, Any]]:
    members = dict(error.extra)
    if not isinstance(error, errors.MessageFailed):
        return kind_of(type(error)), members
    failure = error.failure
    members |= {"retryable": failure["retryable"], "retry_after": failure["retry_after"]}
    return kind_of(FailureCode(failure["code"])), members


def _render(
    request: Request, kind: Kind, detail: str, *, retry_after: float | None = None, **members: Any
) -> JSONResponse:
    body = _body(kind, detail, path=request.scope["path"], trace_id=request.state.trace_id)
    headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    if kind.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="vibecoder"'
    return JSONResponse(
        body | members, status_code=kind.status, media_type=MEDIA_TYPE, headers=headers
    )


def _body(kind: Kind, detail: str, *, path: str, trace_id: str) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": detail,
        "instance": quote(path),
        "trace_id": trace_id,
        "code": kind.code,
    }


def install(app: FastAPI) -> None:
    """Let errors become problems; what has no handler here, `unexpected` answers."""
    app.add_exception_handler(VibeCoderError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, VibeCoderError)
    return problem(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # it was not read as JSON
        kind = kind_of(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        return _render(request, kind, "Send the body as JSON: `Content-Type: application/json`.")
    parts = [_part(item) for item in error.errors()[:_MOST_PARTS]]
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
        return {"pointer": _pointer(path), "detail": detail}
    return {"parameter": str(path[0]) if path else str(place), "detail": detail}


def _pointer(path: list[str | int]) -> str:
    """Write a JSON pointer as a URI fragment; the names are the client's."""
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path]
    pointer = "#" + "".join(f"/{quote(step, errors='replace')}" for step in steps)
    return pointer[:_LONGEST_POINTER]


async def _plain(request: Request, error: Exception) -> JSONResponse:
    """Render what Starlette and FastAPI raise."""
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
    response = _render(request, kind_of(status), detail)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """Tell which methods a path knows: Starlette names those of one route, and there are more."""

    def known(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in ("DELETE", "GET", "PATCH", "POST", "PUT") if known(method)]


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Render everything else: a database that is away, or a defect."""
    if not _database_lost(error):
        _log.error("request failed", path=request.url.path, exc_info=error)
        return _render(
            request,
            kind_of(FailureCode.INTERNAL),
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
