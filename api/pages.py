"""The pages of a browser: the console at `/`, the API's description at `/docs`, and their files.

They are static, and ask no other host for anything: the Content-Security-Policy says so.
"""

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

_FILES = Path(__file__).parent / "console"
_HEADERS = {
    "Cache-Control": "no-cache",  # asked for again with the ETag: an upgrade is seen at once
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the address names projects and messages
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


class _Files(StaticFiles):
    """The console's files, with the headers of a page."""

    @override
    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


_files = _Files(directory=_FILES)


@router.get("/")
async def show_console(request: Request) -> Response:
    """Show the console."""
    return await _files.get_response("index.html", request.scope)


@router.get("/docs")
async def show_docs(request: Request) -> Response:
    """Show the OpenAPI document."""
    return await _files.get_response("docs.html", request.scope)


def install(app: FastAPI) -> None:
    """Serve the pages and their files."""
    app.include_router(router)
    app.mount("/console", _files, name="console")
