"""The OpenAPI document: the parts that FastAPI does not derive from the routes."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.auth import is_open
from api.problems import MEDIA_TYPE, Cause, ProblemType, problem_type
from api.schemas.common import MESSAGE_ID, TRACE_ID, without_null
from api.schemas.events import EventData, EventOut
from api.schemas.full_messages import FullMessageOut
from api.schemas.messages import MessageOut
from api.schemas.problems import Problem
from api.schemas.projects import ProjectOut
from api.schemas.sessions import SessionOut, SessionPatch
from api.schemas.traces import SpanOut, TraceOut
from api.schemas.webhooks import DeliveryOut
from shared import errors
from shared.errors import FailureCode

TAGS = [
    {"name": "projects", "description": "Workflows under construction: their code, its revisions."},
    {"name": "sessions", "description": "Conversations with VibeCoder, and the main job: prompts."},
    {"name": "messages", "description": "One prompt and what became of it."},
    {"name": "traces", "description": "What happened to a message, step by step."},
    {"name": "usage", "description": "Tokens and money that were spent."},
    {"name": "webhooks", "description": "Addresses that get the ends of a project's messages."},
    {"name": "operations", "description": "Health, metrics and figures of the service."},
]

_HEADERS = {
    "X-Trace-Id": ("Finds the request in logs and traces; equals the body's `trace_id`.", TRACE_ID),
    "Location": ("Where to read what was made.", f"/messages/{MESSAGE_ID}"),
    "Retry-After": ("Seconds after which to try or to ask again.", "1"),
    "ETag": ("The code's revision, for `If-Match`.", '"1"'),
    "Link": ('The next page, if this one is full: `<...>; rel="next"`.', ""),
    "WWW-Authenticate": ("The scheme of authentication.", 'Bearer realm="vibecoder"'),
    "Idempotency-Replayed": ("`true` when the key was known: this is the first one's.", "true"),
}
ANSWER_HEADERS = tuple(_HEADERS)
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Request-Id",
    "traceparent",
    "tracestate",
)
_AGAIN_LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "vck_...",
    "description": "An API key: `python -m api keys create NAME` makes one.",
}
_OF_EVERY_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.BodyTooLarge,
    errors.BodyTooSlow,
    errors.TooManyBodies,
)
_OF_EVERY_ROUTE = (errors.InvalidRequest, errors.ServiceUnavailable, FailureCode.INTERNAL)

Responses = dict[int | str, dict[str, Any]]


_WITH_NULLS = (ProjectOut, SessionOut, MessageOut, FullMessageOut, SpanOut, TraceOut, DeliveryOut)
_BY_PYDANTIC: list[tuple[type[BaseModel], JsonSchemaMode]] = [
    # no route returns them
    (Problem, "serialization"),
    (EventOut, "serialization"),
    (EventData, "serialization"),
    # FastAPI leaves every null out of an example
    (SessionPatch, "validation"),
    *((model, "serialization") for model in _WITH_NULLS),
]


def problems(
    *causes: Cause,
    body: bool = False,
    headers: Sequence[str] = (),
) -> Responses:
    """Describe the problems of a route: its own, and those of every route (with a body)."""
    every = (*causes, *(_OF_EVERY_BODY if body else ()), *_OF_EVERY_ROUTE)
    return _by_status(*every, headers=headers)


def _by_status(*causes: Cause, headers: Sequence[str] = ()) -> Responses:
    by_status: dict[HTTPStatus, dict[str, ProblemType]] = {}
    for found in map(problem_type, causes):
        by_status.setdefault(found.status, {})[found.code] = found
    return {
        int(status): _described(status, by_status[status], headers) for status in sorted(by_status)
    }


def described(
    description: str,
    *names: str,
    media_type: str | None = None,
    schema: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe an answer that is no problem, with its headers."""
    described: dict[str, Any] = {"description": description, "headers": _headers(names)}
    if media_type is not None:
        described["content"] = {media_type: {"schema": schema or {"type": "string"}}}
    return described


def _described(
    status: HTTPStatus, types: dict[str, ProblemType], headers: Sequence[str]
) -> dict[str, Any]:
    again = ["Retry-After"] if status in _AGAIN_LATER else []
    again += ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    return {
        "description": "; ".join(found.title for found in types.values()),
        "headers": _headers([*headers, *again]),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    found.code: {"summary": found.title, "value": _example(found)}
                    for found in types.values()
                },
            }
        },
    }


def _example(found: ProblemType) -> dict[str, Any]:
    return {
        "type": f"/problems/{found.code}",
        "title": found.title,
        "status": int(found.status),
        "detail": found.meaning,
        "instance": f"/messages/{MESSAGE_ID}",
        "trace_id": TRACE_ID,
        "code": found.code,
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def install(app: FastAPI) -> None:
    """Add to the app's document the problems and the trace id that all answers share."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate())
        return generate()  # the same object from now on

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _complete(document: dict[str, Any]) -> None:
    components = document["components"]
    _, found = models_json_schema(_BY_PYDANTIC, ref_template="#/components/schemas/{model}")
    components["schemas"] |= found["$defs"]
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}, "example": example}
        for name, (text, example) in _HEADERS.items()
    }
    components["securitySchemes"] = {"key": _KEY}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not is_open(path):
                _protect(method, operation)
            for parameter in operation.get("parameters", []):
                without_null(parameter["schema"])
            for sent in operation.get("requestBody", {}).get("content", {}).values():
                without_null(sent["schema"])
            for response in operation["responses"].values():
                response.setdefault("headers", {}).update(_headers(["X-Trace-Id"]))


def _protect(method: str, operation: dict[str, Any]) -> None:
    """Describe the security of an operation: a key or none, and the problems without one."""
    operation["security"] = [{"key": []}, {}]
    writing = () if method == "get" else (errors.RoleInsufficient,)
    responses = operation["responses"]
    for status, response in _by_status(errors.KeyRequired, errors.RateLimited, *writing).items():
        known = responses.setdefault(str(status), response)
        if known is not response:
            known["content"][MEDIA_TYPE]["examples"] |= response["content"][MEDIA_TYPE]["examples"]
            known["description"] += f"; {response['description']}"
