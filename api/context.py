"""What every request carries before a route sees it: a trace id, and a bound on its body."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.problems import problem, unexpected
from shared.errors import BodyTooLarge

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def new_trace_id(traceparent: str | None) -> str:
    """Take the trace id of a W3C `traceparent`, or make one, in the Agents SDK's form."""
    found = _TRACEPARENT.match(traceparent or "")
    return f"trace_{found[1] if found else uuid4().hex}"


def trace_id_of(request: Request) -> str:
    """Return the trace id that this request's answer bears."""
    trace_id: str = request.state.trace_id
    return trace_id


class RequestContext:
    """ASGI middleware: `X-Trace-Id` on every answer, a problem for every error, bounded bodies.

    A route that answers with a message puts the message's trace id in the request's place.
    """

    def __init__(self, app: ASGIApp, *, body_limit: int) -> None:
        self._app = app
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        state["trace_id"] = new_trace_id(headers.get("traceparent"))

        started = False

        async def send_traced(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Trace-Id"] = state["trace_id"]
            await send(message)

        with bound_contextvars(trace_id=state["trace_id"]):
            try:
                await self._app(scope, self._bounded(headers, receive), send_traced)
            except BodyTooLarge as error:
                await problem(Request(scope), error)(scope, receive, send_traced)
            except Exception as error:
                if started:
                    raise
                await unexpected(Request(scope), error)(scope, receive, send_traced)

    def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        read = 0
        too_large = BodyTooLarge(
            f"The request body is larger than {self._body_limit} bytes. Send less at once."
        )

        async def bounded() -> Message:
            nonlocal read
            if int(headers.get("content-length") or 0) > self._body_limit:
                raise too_large
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._body_limit:
                raise too_large
            return message

        return bounded
