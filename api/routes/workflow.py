"""The workflow of a project: its code, its nodes, their picture."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.dependencies import Owner, Services, ServicesDep, TraceId
from api.openapi import described, problems
from api.schemas.projects import RevisionNumber, WorkflowOut
from api.svg.workflow import draw
from shared import errors
from shared.store import projects
from shared.tables import Project

router = APIRouter(prefix="/projects", tags=["projects"])
_PYTHON, _SVG = "text/x-python", "image/svg+xml"
_MISSING = problems(errors.ProjectNotFound)
_NO_REVISION = problems(errors.ProjectNotFound, errors.RevisionNotFound)


@router.get(
    "/{project_id}/code",
    response_class=Response,
    responses={200: described("The module.", "ETag", media_type=_PYTHON), **_MISSING},
)
async def get_code(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Owner,
    program: Annotated[
        bool, Query(description="With an end that lets a person talk to the workflow.")
    ] = False,
) -> Response:
    """Download the workflow as a Python module."""
    project = await _get(services, project_id, owner)
    code = project.code
    if program:
        code = await services.checker.call(
            "shared.workflow.program:as_program", owner=owner, code=code
        )
    return Response(
        code,
        media_type=_PYTHON,
        headers={
            "Content-Disposition": 'attachment; filename="workflow.py"',
            "ETag": f'"{project.revision}"',
        },
    )


@router.get("/{project_id}/workflow", responses=_MISSING)
async def get_workflow(
    project_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> WorkflowOut:
    """Read the agents, the tools and the handoffs that the code defines."""
    project = await _get(services, project_id, owner)
    report = await services.checker.inspect(project.code, owner=owner)
    return WorkflowOut.of(project, report, trace_id=trace_id)


@router.get(
    "/{project_id}/workflow.svg",
    response_class=Response,
    responses={200: described("The picture.", "ETag", media_type=_SVG), **_NO_REVISION},
)
async def get_workflow_picture(
    project_id: UUID,
    services: ServicesDep,
    owner: Owner,
    since: Annotated[
        RevisionNumber | None, Query(description="Mark what changed after that revision.")
    ] = None,
) -> Response:
    """Draw the workflow, and mark what changed since a revision."""
    async with services.database.read() as db:
        project = await projects.get(db, project_id, owner=owner)
        earlier = await projects.revision(db, project_id, number=since) if since else None
    workflow = await services.checker.read(project.code, owner=owner)
    before = await services.checker.read(earlier.code, owner=owner) if earlier else None
    picture = await asyncio.to_thread(draw, workflow, title=project.name, since=before)
    return Response(picture, media_type=_SVG, headers={"ETag": f'"{project.revision}"'})


async def _get(services: Services, project_id: UUID, owner: str) -> Project:
    async with services.database.read() as db:
        return await projects.get(db, project_id, owner=owner)
