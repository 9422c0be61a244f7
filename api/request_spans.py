"""Each request as a span for an OpenTelemetry collector; only where one is set."""

import re
import time
from secrets import token_hex

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.telemetry import Telemetry, TelemetrySpan, hex_trace_id

_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-.*")
_FAILED = 500


class RequestSpans:
    """ASGI middleware inside of RequestContext, whose trace id it takes.

    A route whose span others must find puts its id into `state.span_id`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = hex_trace_id(scope["state"]["trace_id"])  # a route may put a message's there
        began = time.time()
        status = _FAILED

        async def send_noting(message: Message) -> None:
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
        failed=status >= _FAILED,
        attributes={
            "http.request.method": scope["method"],
            "http.route": path,
            "http.response.status_code": status,
        },
    )
