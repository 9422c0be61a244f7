"""Lists in pages: the `Link` header that leads to the next one."""

from collections.abc import Sequence

from fastapi import Request, Response


def link_next(
    request: Request, response: Response, entries: Sequence[object], *, limit: int, after: object
) -> None:
    """Add `Link: <...>; rel="next"` to a full page; the next one may turn out empty."""
    if len(entries) == limit:
        url = request.url.include_query_params(after=str(after))
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
