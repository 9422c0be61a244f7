"""The bodies of requests: of bounded size, and of bounded structure."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import BodyTooLarge, InvalidRequest

_MOST_VALUES = 10_000
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class BoundedBody:
    """ASGI middleware: read the body before the route does, and refuse one that is too much.

    Here, because FastAPI takes what is raised while it reads for bad JSON. What is a few bytes each
    in JSON, brackets and commas, is twenty times as much in memory, and nested it is a deep stack.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            receive = await self._read(scope, receive)
        await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        size = int(Headers(scope=scope).get("content-length", 0))
        message: Message = {"more_body": True}
        body = bytearray()
        while size <= self._limit and message.get("more_body", False):
            message = await receive()
            body += message.get("body", b"")
            size = max(size, len(body))
        if size > self._limit:
            raise BodyTooLarge(
                f"The request body is larger than {self._limit} bytes. Send less at once."
            )
        if _values(body) > _MOST_VALUES and _values(_STRING.sub(b"", body)) > _MOST_VALUES:
            detail = f"It holds more than {_MOST_VALUES} values: lists, objects, members, entries."
            raise InvalidRequest(f"#: {detail}", errors=[{"pointer": "#", "detail": detail}])
        first: list[Message] = [{**message, "body": bytes(body)}]

        async def read() -> Message:
            return first.pop() if first else await receive()

        return read


def _values(text: bytes | bytearray) -> int:
    return text.count(b"[") + text.count(b"{") + text.count(b",")
