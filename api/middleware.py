"""What every request and every answer has: a trace id, and headers that keep browsers safe."""

import re
import time
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

# version 00 ends after the flags; later ones may go on
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_IN_PATH = re.compile(r"/(project|session|message)s/([0-9a-fA-F-]{36})(?![^/])")
_log = get_logger(__name__)

MOST_HEAD_BYTES = 65_536

_PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # prompts and replies are nobody else's, also in a cache
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_CONTENT = {
    "text/html": "frame-ancestors 'none'",
    "image/svg+xml": f"{_NOTHING}; style-src 'unsafe-inline'",
}

_REQUEST_ID = re.compile(r"[!-~]{1,128}")  # what cannot break a header or a log line


def new_trace_id(traceparent: str | None) -> str:
    """Take the trace id of a W3C `traceparent`, or make one, in the Agents SDK's form."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return f"trace_{found[1] if found else uuid4().hex}"


async def trace_id_of(request: Request) -> str:
    """Return the trace id that this request's answer bears."""
    trace_id: str = request.state.trace_id
    return trace_id


def about(request: Request, message: Message) -> None:
    """Let the answer bear a message's trace id, and the log lines from now on its ids."""
    request.state.trace_id = message.trace_id
    bind_contextvars(
        trace_id=message.trace_id,
        message_id=str(message.id),
        session_id=str(message.session_id),
        project_id=str(message.project_id),
    )


class RequestContext:
    """ASGI middleware: `X-Trace-Id` on every answer, a problem for every error.

    A caller's own `X-Request-Id` stands on the answer and on the log lines as well.

    A route that answers with a message puts the message's trace id in the request's place; what
    it puts into `state.headers` stands on the answer even if that is a problem.
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
            _tell(scope, status, began)


def _tell(scope: Scope, status: int | None, began: float) -> None:
    took_ms = round((time.monotonic() - began) * 1000, 1)
    request = {"method": scope["method"], "path": scope["path"]}
    _log.debug("answered", **request, status=status, took_ms=took_ms)


def _bound_head(scope: Scope) -> None:
    size = len(scope["query_string"]) + len(scope["path"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MOST_HEAD_BYTES:
        raise HeadTooLarge(f"Address and headers are longer than {MOST_HEAD_BYTES} bytes.")


def _protect(headers: MutableHeaders) -> None:
    """Say what a browser must not do with an answer; a page that needs more says so itself."""
    for name, value in _PROTECTION.items():
        headers.setdefault(name, value)
    kind = headers.get("content-type", "").split(";")[0]
    headers.setdefault("Content-Security-Policy", _CONTENT.get(kind, _NOTHING))
