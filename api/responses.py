"""Parts of responses that routes share: pages of a list, JSON in ASCII."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from typing_extensions import override

from api.dependencies import Page
from shared.errors import DeliveryNotFound, MessageNotFound, ProjectNotFound, SessionNotFound

T = TypeVar("T")


async def entry_before(page: Page, read: Callable[[UUID], Awaitable[T]]) -> T | None:
    """Read the entry that the page's cursor names.

    Raises:
        InvalidRequest: there is no such entry.
    """
    after = page.after_id()
    if after is None:
        return None
    try:
        return await read(after)
    except (ProjectNotFound, SessionNotFound, MessageNotFound, DeliveryNotFound):
        raise page.wrong_cursor() from None


def link_next(
    request: Request, response: Response, entries: Sequence[object], *, limit: int, after: object
) -> None:
    """Add `Link: <...>; rel="next"` to a full page; the next one may turn out empty."""
    if len(entries) == limit:
        url = request.url.include_query_params(after=str(after))
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


class AsciiJSONResponse(JSONResponse):
    """JSON in escaped ASCII: it can hold half of a surrogate pair, UTF-8 cannot."""

    @override
    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()
