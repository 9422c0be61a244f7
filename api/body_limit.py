"""Limits of request bodies: size, structure, time, and memory of all bodies at once."""

import asyncio
from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import is_open
from shared.errors import BodyTooLarge, BodyTooSlow, InvalidRequest, TooManyBodies

_MOST_VALUES = 10_000
_MOST_QUOTES = 4 * (_MOST_VALUES + 1)
"""Each value is at most two strings: a member's name and what it holds."""
_MOST_AT_ONCE = 16
"""Bodies of the largest size that a process holds while it reads; half of them for one owner."""
_SECONDS = 60.0
_METHODS = {"POST", "PUT", "PATCH"}


class BodyLimit:
    """ASGI middleware: read the body before the route does, and refuse one over a limit.

    FastAPI would report any error of the reading as bad JSON, so this is middleware. A route
    that needs no body, or no key, gets none: the server stops reading after 64 kB.
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float = _SECONDS) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            wanted = scope["method"] in _METHODS and not is_open(scope["path"])
            receive = await self._read(scope, receive) if wanted else _without_body(receive)
        await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        owner = scope["state"]["caller"].owner
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._collect(scope, receive, body, owner)
        except TimeoutError:
            raise BodyTooSlow(
                f"The request body did not arrive within {self._seconds:g} s. Send it again."
            ) from None
        finally:
            self._held[owner] -= len(body)
            if not self._held[owner]:
                del self._held[owner]
        _bound_structure(body)
        return _once({**message, "body": bytes(body)}, receive)

    async def _collect(
        self, scope: Scope, receive: Receive, body: bytearray, owner: str
    ) -> Message:
        announced = int(Headers(scope=scope).get("content-length", 0))
        message: Message = {"more_body": True}
        while True:
            if max(announced, len(body)) > self._limit:
                raise BodyTooLarge(
                    f"The request body is larger than {self._limit} bytes. Send less at once."
                )
            if not message.get("more_body", False):
                return message
            message = await receive()
            part = message.get("body", b"")
            body += part
            self._held[owner] += len(part)
            most = _MOST_AT_ONCE * self._limit
            if self._held[owner] > most // 2 or self._held.total() > most:
                raise TooManyBodies(
                    "The service reads as many large request bodies as it may. Send yours again "
                    "in a moment.",
                    retry_after=1,
                )


def _without_body(receive: Receive) -> Receive:
    return _once({"type": "http.request", "body": b"", "more_body": False}, receive)


def _once(message: Message, receive: Receive) -> Receive:
    """Give the message first; after it comes the client's disconnect."""
    first = [message]

    async def read() -> Message:
        if first:
            return first.pop()
        while (later := await receive())["type"] == "http.request":
            pass  # the rest of a body that no route reads
        return later

    return read


def _bound_structure(body: bytearray) -> None:
    """Refuse JSON of many values: a few bytes each, they are twenty times as much in memory.

    One pass over the bytes, whatever they are: without escapes each quote begins or ends a string.
    """
    if b"\0" in body:
        raise _invalid("It is not UTF-8: send JSON as UTF-8.")
    if _values(body) <= _MOST_VALUES:
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > _MOST_QUOTES or _values_outside(plain) > _MOST_VALUES:
        detail = f"It holds more than {_MOST_VALUES} values: lists, objects, members, entries."
        raise _invalid(detail)


def _values_outside(plain: bytearray) -> int:
    """Count the values outside of strings, of a text without escapes."""
    return sum(map(_values, plain.split(b'"')[::2]))


def _values(text: bytes | bytearray) -> int:
    return text.count(b"[") + text.count(b"{") + text.count(b",")


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(f"#: {detail}", errors=[{"pointer": "#", "detail": detail}])
