"""The conversations of a project, and what the model remembers of one."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import Caller, PageDep, ServicesDep, TraceId
from api.openapi import Responses, described, problems
from api.responses import entry_before, link_next
from api.schemas.sessions import ItemOut, SessionIn, SessionOut
from api.verbatim import VerbatimJSON
from shared import errors
from shared.store import projects, sessions
from shared.store.sessions import SessionSummary

router = APIRouter(tags=["sessions"])
_MISSING = problems(errors.SessionNotFound)
_PAGE: Responses = {200: described("The page.", "Link")}


@router.post(
    "/projects/{project_id}/sessions",
    responses={
        200: described("Found."),
        201: {"model": SessionOut, **described("Begun.", "Location")},
        **problems(errors.ProjectNotFound, body=True),
    },
)
async def open_session(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Caller,
    trace_id: TraceId,
    response: Response,
    body: Annotated[SessionIn | None, Body()] = None,
) -> SessionOut:
    """Find or begin a conversation: on the project, or on one of its agents."""
    summary, created = await services.database.write(_open, project_id, owner, body or SessionIn())
    if created:
        response.status_code = status.HTTP_201_CREATED
        response.headers["Location"] = f"/sessions/{summary.session.id}"
    return SessionOut.of(summary, trace_id=trace_id)


async def _open(
    db: AsyncSession, project_id: UUID, owner: str, body: SessionIn
) -> tuple[SessionSummary, bool]:
    # locked, so that a session cannot appear in a project while it is deleted
    await projects.lock(db, project_id, owner=owner)
    session, created = await sessions.ensure(db, project_id=project_id, **body.model_dump())
    return await sessions.summary(db, session.id), created


@router.get("/projects/{project_id}/sessions", responses=_PAGE | problems(errors.ProjectNotFound))
async def list_sessions(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Caller,
    page: PageDep,
    trace_id: TraceId,
    request: Request,
    response: Response,
) -> list[SessionOut]:
    """List a project's conversations, oldest first."""
    async with services.database.read() as db:
        await projects.get(db, project_id, owner=owner)
        cursor = await entry_before(page, partial(sessions.get, db, owner=owner))
        found = await sessions.summaries(db, project_id=project_id, after=cursor, limit=page.limit)
    last = found[-1].session.id if found else ""
    link_next(request, response, found, limit=page.limit, after=last)
    return [SessionOut.of(summary, trace_id=trace_id) for summary in found]


@router.get(
    "/sessions/{session_id}/items", response_model=list[ItemOut], responses=_PAGE | _MISSING
)
async def list_items(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Caller,
    page: PageDep,
    request: Request,
    response: Response,
) -> VerbatimJSON:
    """List what the model remembers, oldest first."""
    after = page.after_number()
    async with services.database.read() as db:
        session = await sessions.get(db, session_id, owner=owner)
        start = 0 if after is None else after + 1
        generation = session.generation
        limit = await sessions.items_on_page(
            db, session_id, generation=generation, start=start, limit=page.limit
        )
        found = await sessions.items(
            db, session_id, generation=generation, start=start, limit=limit
        )
    link_next(request, response, found, limit=limit, after=found[-1].position if found else "")
    shown = [ItemOut.of(item).model_dump(mode="json") for item in found]
    return VerbatimJSON(shown, headers=dict(response.headers))
