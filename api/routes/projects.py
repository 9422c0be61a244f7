"""Projects, their code and its revisions."""

import asyncio
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import IfMatch, Owner, PageDep, Services, ServicesDep, TraceId
from api.openapi import Responses, described, problems
from api.responses import entry_before, link_next
from api.schemas.projects import (
    ProjectDeleted,
    ProjectIn,
    ProjectOut,
    ProjectPatch,
    ProjectSummary,
    RevisionNumber,
    RevisionOut,
)
from shared import errors
from shared.errors import InvalidWorkflow, RevisionMismatch
from shared.store import projects, transitions
from shared.store.transitions import Ended
from shared.tables import Project
from shared.workflow.text import EMPTY_WORKFLOW, unified_diff

router = APIRouter(prefix="/projects", tags=["projects"])
_MISSING = problems(errors.ProjectNotFound)
_SHOWN: Responses = {200: described("The project.", "ETag")}
_PAGE: Responses = {200: described("The page.", "Link")}
_NO_REVISION = problems(errors.ProjectNotFound, errors.RevisionNotFound)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={
        201: described("Begun.", "Location", "ETag"),
        **problems(errors.InvalidWorkflow, body=True),
    },
)
async def create_project(
    body: ProjectIn, services: ServicesDep, owner: Owner, trace_id: TraceId, response: Response
) -> ProjectOut:
    """Begin a workflow, empty or with code that is there already.

    Code is accepted if it parses; `diagnostics` says what would fail when it runs.
    """
    code = EMPTY_WORKFLOW if body.code is None else body.code
    await _check(code, services, owner)
    project = await services.database.write(_create, owner, body, code)
    response.headers["Location"] = f"/projects/{project.id}"
    return await _shown(project, services, response, trace_id)


@router.get("", responses=_PAGE | problems())
async def list_projects(
    *,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    trace_id: TraceId,
    request: Request,
    response: Response,
) -> list[ProjectSummary]:
    """List the projects, oldest first."""
    async with services.database.read() as db:
        cursor = await entry_before(page, partial(projects.get, db, owner=owner))
        found = await projects.listing(db, owner=owner, after=cursor, limit=page.limit)
    link_next(request, response, found, limit=page.limit, after=found[-1].id if found else "")
    return [ProjectSummary.of(project, trace_id=trace_id) for project in found]


@router.get("/{project_id}", responses=_SHOWN | _MISSING)
async def get_project(
    project_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId, response: Response
) -> ProjectOut:
    """Read a project with its code."""
    project = await _get(services, project_id, owner)
    return await _shown(project, services, response, trace_id)


@router.patch(
    "/{project_id}",
    responses=_SHOWN
    | problems(errors.ProjectNotFound, errors.RevisionMismatch, errors.InvalidWorkflow, body=True),
)
async def change_project(
    *,
    project_id: UUID,
    body: ProjectPatch,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    revision: IfMatch,
    response: Response,
) -> ProjectOut:
    """Change a project; other code becomes its next revision.

    Code is accepted if it parses; `diagnostics` says what would fail when it runs.
    """
    if body.code is not None:
        await _check(body.code, services, owner)
    project = await services.database.write(_change, project_id, owner, body, revision)
    return await _shown(project, services, response, trace_id)


@router.delete("/{project_id}", responses=_MISSING)
async def delete_project(
    project_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> ProjectDeleted:
    """Delete a project and all below it; its unfinished messages are cancelled."""
    ended = await services.database.write(
        _delete, project_id, owner, limit=services.settings.project_concurrency
    )
    await services.announcer.announce(ended)
    return ProjectDeleted(id=project_id, trace_id=trace_id)


@router.get("/{project_id}/revisions", responses=_PAGE | _MISSING)
async def list_revisions(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    trace_id: TraceId,
    request: Request,
    response: Response,
) -> list[RevisionOut]:
    """List the states of the code, oldest first, with the diffs between them."""
    after = page.after_number() or 0
    async with services.database.read() as db:
        await projects.get(db, project_id, owner=owner)
        found = await projects.revisions(db, project_id, after=after, limit=page.limit)
    link_next(request, response, found, limit=page.limit, after=found[-1].number if found else "")
    return [RevisionOut.of(revision, trace_id=trace_id) for revision in found]


@router.get("/{project_id}/revisions/{number}", responses=_NO_REVISION)
async def get_revision(
    project_id: UUID,
    number: Annotated[RevisionNumber, Path()],
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
) -> RevisionOut:
    """Read one state of the code."""
    async with services.database.read() as db:
        await projects.get(db, project_id, owner=owner)
        found = await projects.revision(db, project_id, number=number)
    return RevisionOut.of(found, trace_id=trace_id)


@router.post("/{project_id}/revisions/{number}/restore", responses=_SHOWN | _NO_REVISION)
async def restore_revision(
    *,
    project_id: UUID,
    number: Annotated[RevisionNumber, Path()],
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    response: Response,
) -> ProjectOut:
    """Make an earlier state the newest revision; nothing between is lost."""
    project = await services.database.write(_restore, project_id, owner, number)
    return await _shown(project, services, response, trace_id)


async def _check(code: str, services: Services, owner: str) -> None:
    limit = services.settings.code_limit
    if len(code) > limit:
        raise InvalidWorkflow(f"The module has {len(code)} characters; {limit} are allowed.")
    await services.checker.check(code, owner=owner)


async def _shown(
    project: Project, services: Services, response: Response, trace_id: str
) -> ProjectOut:
    response.headers["ETag"] = f'"{project.revision}"'
    report = await services.checker.inspect(project.code, owner=project.owner)
    return ProjectOut.of(project, report, trace_id=trace_id)


async def _get(services: Services, project_id: UUID, owner: str) -> Project:
    async with services.database.read() as db:
        return await projects.get(db, project_id, owner=owner)


async def _create(db: AsyncSession, owner: str, body: ProjectIn, code: str) -> Project:
    return await projects.create(
        db,
        owner=owner,
        name=body.name,
        instructions=body.instructions,
        code=code,
        budget_tokens=body.budget_tokens,
        budget_usd=body.budget_usd,
    )


async def _change(
    db: AsyncSession, project_id: UUID, owner: str, body: ProjectPatch, revision: int | None
) -> Project:
    project = await projects.lock(db, project_id, owner=owner)
    if revision is not None and revision != project.revision:
        raise RevisionMismatch(
            f"The project is at revision {project.revision}, not {revision}. "
            "Read it again and repeat the change on the new code.",
            revision=project.revision,
        )
    project.name = body.name or project.name
    if body.instructions is not None:
        project.instructions = body.instructions
    for name in ("budget_tokens", "budget_usd"):
        if name in body.model_fields_set:  # null takes a budget away
            setattr(project, name, getattr(body, name))
    if body.code is not None:
        await _revise(db, project, body.code)
    await db.flush()
    return project


async def _restore(db: AsyncSession, project_id: UUID, owner: str, number: int) -> Project:
    project = await projects.lock(db, project_id, owner=owner)
    earlier = await projects.revision(db, project_id, number=number)
    await _revise(db, project, earlier.code)
    return project


async def _revise(db: AsyncSession, project: Project, code: str) -> None:
    if code != project.code:
        diff = await asyncio.to_thread(unified_diff, project.code, code)
        await projects.revise(db, project, code=code, diff=diff, message_id=None)


async def _delete(db: AsyncSession, project_id: UUID, owner: str, *, limit: int) -> Ended:
    project = await projects.lock(db, project_id, owner=owner)
    return await transitions.delete_project(db, project, limit=limit)
