"""Traces: what happened to a message step by step, as data and as a picture."""

import asyncio
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from api.dependencies import Owner, PageDep, ServicesDep
from api.middleware import about
from api.openapi import described, problems
from api.responses import entry_before, link_next
from api.schemas.common import TRACE_ID
from api.schemas.traces import TracedMessageOut, TraceOut
from api.svg.trace import draw
from shared import errors
from shared.store import messages, traces

router = APIRouter(tags=["traces"])
_SVG = "image/svg+xml"
_GIVEN = Annotated[str, Path(pattern="^trace_[0-9a-f]{32}$", examples=[TRACE_ID])]


@router.get(
    "/traces/{trace_id}",
    responses={200: described("The page.", "Link"), **problems(errors.TraceNotFound)},
)
async def get_trace(
    *,
    trace_id: _GIVEN,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    request: Request,
    response: Response,
) -> TraceOut:
    """Read what happened under a trace id: messages, their attempts, and the spans of each run.

    Attempts that were lost are there as far as they came.
    """
    async with services.database.read() as db:
        cursor = await entry_before(page, partial(messages.get, db, owner=owner))
        found = await traces.of_trace(db, trace_id, owner=owner, after=cursor, limit=page.limit)
    request.state.trace_id = trace_id
    last = found[-1].message.id if found else ""
    link_next(request, response, found, limit=page.limit, after=last)
    return TraceOut(trace_id=trace_id, messages=[TracedMessageOut.of(each) for each in found])


@router.get(
    "/messages/{message_id}/trace.svg",
    response_class=Response,
    responses={
        200: described("The picture.", media_type=_SVG),
        **problems(errors.MessageNotFound),
    },
)
async def get_trace_picture(
    message_id: UUID, services: ServicesDep, owner: Owner, request: Request
) -> Response:
    """Draw a message's trace: how it waited, its attempts, each call of the model and of a tool."""
    async with services.database.read() as db:
        traced = await traces.of_message(db, message_id, owner=owner)
    about(request, traced.message)
    return Response(await asyncio.to_thread(draw, traced), media_type=_SVG)
