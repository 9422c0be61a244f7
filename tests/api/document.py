"""The OpenAPI document as a judge of answers."""

import json
import re
from functools import cache
from typing import Any, TypeVar

import httpx2
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from api.app import app
from tests.canaries import leaks

ClientT = TypeVar("ClientT", bound=httpx2.Client)
PROBLEM = "application/problem+json"
HEADERS = {"Location", "Retry-After", "ETag", "Link", "Idempotency-Replayed", "X-Trace-Id"}
Json = dict[str, Any]


@cache
def document() -> Json:
    """Return the service's OpenAPI document."""
    return app.openapi()


@cache
def operations() -> list[tuple[str, str, Json]]:
    """List each operation's path, method and description."""
    return [
        (path, method, operation)
        for path, known in document()["paths"].items()
        for method, operation in known.items()
    ]


def errors_of(value: object, schema: Json) -> list[str]:
    """Tell what is wrong with a value by a schema of the document."""
    validator = _validator(json.dumps(schema))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _validator(schema: str) -> OAS31Validator:
    """Make a schema's validator once: it reads all components of the document."""
    described = json.loads(schema) | {"components": document()["components"]}
    return OAS31Validator(described, format_checker=oas31_format_checker)


def check_answers(client: ClientT) -> ClientT:
    """Let the client fail on an answer that the document does not describe."""
    client.event_hooks = {"response": [_check]}
    return client


def _check(response: httpx2.Response) -> None:
    operation = _operation(response.request)
    if operation is None:
        return
    response.read()
    described = operation["responses"].get(str(int(response.status_code)))
    assert described, f"{operation['operationId']} does not document {response.status_code}"
    undocumented = {name for name in HEADERS if name in response.headers} - set(
        described.get("headers", {})
    )
    assert not undocumented, (operation["operationId"], response.status_code)
    if response.status_code == httpx2.codes.NO_CONTENT:
        return
    media_type = response.headers["Content-Type"].split(";")[0]
    content = described["content"][media_type]
    if media_type == PROBLEM:
        assert leaks(response.text) == []
    if media_type.endswith("json"):
        assert errors_of(response.json(), content["schema"]) == []


def _operation(request: httpx2.Request) -> Json | None:
    for method, pattern, operation in _patterns():
        if method == request.method.lower() and pattern.fullmatch(request.url.path):
            return operation
    return None


@cache
def _patterns() -> list[tuple[str, re.Pattern[str], Json]]:
    """List each operation with what its paths look like."""
    return [
        (method, re.compile("[^/]+".join(map(re.escape, re.split(r"{\w+}", path)))), operation)
        for path, method, operation in operations()
    ]
