"""ASGI middleware around every route: trace id, log line, span, and headers for browsers."""

import re
import time
from secrets import token_hex
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Part
from structlog.contextvars import bind_contextvars, bound_contextvars

from api.metrics import count_request
from api.problems import problem, unexpected
from shared.errors import HeadTooLarge, VibeCoderError
from shared.logging import get_logger
from shared.tables import Message
from shared.telemetry import Telemetry, TelemetrySpan, hex_trace_id

# version 00 ends after the flags; later ones may go on
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-.*")
_IN_PATH = re.compile(r"/(project|session|message)s/([0-9a-fA-F-]{36})(?![^/])")
_log = get_logger(__name__)

MOST_HEAD_BYTES = 65_536
_SERVER_ERROR = 500

_PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # prompts and replies are private
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_CONTENT = {
    "text/html": "frame-ancestors 'none'",
    "image/svg+xml": f"{_NOTHING}; style-src 'unsafe-inline'",
}

_REQUEST_ID = re.compile(r"[!-~]{1,128}")  # it cannot break a header or a log line


def new_trace_id(traceparent: str | None) -> str:
    """Take the trace id of a W3C `traceparent`, or make one, in the Agents SDK's form."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return f"trace_{found[1] if found else uuid4().hex}"


async def trace_id_of(request: Request) -> str:
    """Return the trace id of this request's answer."""
    trace_id: str = request.state.trace_id
    return trace_id


def about(request: Request, message: Message) -> None:
    """Give the answer a message's trace id, and all further log lines the message's ids."""
    request.state.trace_id = message.trace_id
    bind_contextvars(
        trace_id=message.trace_id,
        message_id=str(message.id),
        session_id=str(message.session_id),
        project_id=str(message.project_id),
    )


class RequestContext:
    """ASGI middleware: set `X-Trace-Id` on every answer, turn every error into a problem.

    The client's own `X-Request-Id` is repeated on the answer and on the log lines.

    A route that answers with a message replaces the request's trace id with the message's. The
    headers in `state.headers` are set on every answer, problems too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; the server sends no body
            scope = {**scope, "method": "GET"}
        state = scope.setdefault("state", {})
        state["trace_id"] = new_trace_id(Headers(scope=scope).get("traceparent"))
        state["headers"] = {}
        began = time.monotonic()
        status = None
        known = {f"{kind}_id": value for kind, value in _IN_PATH.findall(scope["path"])}
        request_id = Headers(scope=scope).get("x-request-id", "")
        if _REQUEST_ID.fullmatch(request_id):
            state["headers"]["X-Request-Id"] = known["request_id"] = request_id

        async def send_traced(message: Part) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                count_request(scope, status)
                headers = MutableHeaders(scope=message)
                headers.update(state["headers"])
                headers["X-Trace-Id"] = state["trace_id"]
                _protect(headers)
            await send(message)

        with bound_contextvars(trace_id=state["trace_id"], **known):
            try:
                _bound_head(scope)
                await self._app(scope, receive, send_traced)
            except VibeCoderError as error:
                await problem(Request(scope), error)(scope, receive, send_traced)
            except Exception as error:
                if status is not None:
                    raise
                await unexpected(Request(scope), error)(scope, receive, send_traced)
            _log_answer(scope, status, began)


def _log_answer(scope: Scope, status: int | None, began: float) -> None:
    took_ms = round((time.monotonic() - began) * 1000, 1)
    request = {"method": scope["method"], "path": scope["path"]}
    _log.debug("answered", **request, status=status, took_ms=took_ms)


def _bound_head(scope: Scope) -> None:
    size = len(scope["query_string"]) + len(scope["path"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MOST_HEAD_BYTES:
        raise HeadTooLarge(f"Address and headers are longer than {MOST_HEAD_BYTES} bytes.")


def _protect(headers: MutableHeaders) -> None:
    """Forbid browsers all that an answer does not need; a page that needs more sets its own."""
    for name, value in _PROTECTION.items():
        headers.setdefault(name, value)
    kind = headers.get("content-type", "").split(";")[0]
    headers.setdefault("Content-Security-Policy", _CONTENT.get(kind, _NOTHING))


class RequestSpans:
    """ASGI middleware: send a span of each request to the OpenTelemetry collector.

    It stands inside RequestContext and uses its trace id. A route sets `state.span_id` where the
    worker's spans must hang below the request's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = hex_trace_id(scope["state"]["trace_id"])  # a route may replace it later
        began = time.time()
        status = _SERVER_ERROR

        async def send_noting(message: Part) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            telemetry: Telemetry = scope["app"].state.telemetry
            telemetry.export(_span(scope, trace_id, began, status))


def _span(scope: Scope, trace_id: str, began: float, status: int) -> TelemetrySpan:
    caller = _PARENT.fullmatch(Headers(scope=scope).get("traceparent", ""))
    path = getattr(scope.get("route"), "path", "")
    return TelemetrySpan(
        trace_id,
        scope["state"].get("span_id") or token_hex(8),
        caller[2] if caller and caller[1] == trace_id else None,
        f"{scope['method']} {path}".strip(),
        began,
        time.time(),
        kind="server",
        failed=status >= _SERVER_ERROR,
        attributes={
            "http.request.method": scope["method"],
            "http.route": path,
            "http.response.status_code": status,
        },
    )
