"""What every request has before a route sees it: a trace id, and a body of bounded size."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.metrics import count_request
from api.problems import problem, unexpected
from shared.errors import BodyTooLarge

# version 00 ends after the flags; later ones may go on
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)

_REQUEST_ID = re.compile(r"[!-~]{1,128}")  # what cannot break a header or a log line


def new_trace_id(traceparent: str | None) -> str:
    """Take the trace id of a W3C `traceparent`, or make one, in the Agents SDK's form."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return f"trace_{found[1] if found else uuid4().hex}"


async def trace_id_of(request: Request) -> str:
    """Return the trace id that this request's answer bears."""
    trace_id: str = request.state.trace_id
    return trace_id


class RequestContext:
    """ASGI middleware: `X-Trace-Id` on every answer, a problem for every error, bounded bodies.

    A caller's own `X-Request-Id` stands on the answer and on the log lines as well.

    A route that answers with a message puts the message's trace id in the request's place; what
    it puts into `state.headers` stands on the answer even if that is a problem.
    """

    def __init__(self, app: ASGIApp, *, body_limit: int) -> None:
        self._app = app
        self._body_limit = body_limit

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
        known = {"trace_id": state["trace_id"]}
        request_id = Headers(scope=scope).get("x-request-id", "")
        if _REQUEST_ID.fullmatch(request_id):
            state["headers"]["X-Request-Id"] = known["request_id"] = request_id
        started = False

        async def send_traced(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                count_request(scope, message["status"])
                headers = MutableHeaders(scope=message)
                headers.update(state["headers"])
                headers["X-Trace-Id"] = state["trace_id"]
            await send(message)

        with bound_contextvars(**known):
            try:
                await self._app(scope, await self._read(scope, receive), send_traced)
            except BodyTooLarge as error:
                await problem(Request(scope), error)(scope, receive, send_traced)
            except Exception as error:
                if started:
                    raise
                await unexpected(Request(scope), error)(scope, receive, send_traced)

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body, here because FastAPI takes what is raised while it reads for bad JSON."""
        size = int(Headers(scope=scope).get("content-length", 0))
        message: Message = {"more_body": True}
        body = bytearray()
        while size <= self._body_limit and message.get("more_body", False):
            message = await receive()
            body += message.get("body", b"")
            size = max(size, len(body))
        if size > self._body_limit:
            raise BodyTooLarge(
                f"The request body is larger than {self._body_limit} bytes. Send less at once."
            )
        first: list[Message] = [{**message, "body": bytes(body)}]

        async def read() -> Message:
            return first.pop() if first else await receive()

        return read
