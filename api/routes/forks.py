"""Forking: go on from any message of the past, without changing what came of it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import Caller, ServicesDep, TraceId
from api.openapi import described, problems
from api.schemas.forks import ForkIn
from api.schemas.sessions import SessionOut
from shared import errors
from shared.store import forks, messages, projects, sessions
from shared.store.sessions import SessionSummary

router = APIRouter(tags=["messages"])


@router.post(
    "/messages/{message_id}/fork",
    status_code=status.HTTP_201_CREATED,
    responses={
        201: described("Begun.", "Location"),
        **problems(
            errors.MessageNotFound, errors.MessageUnfinished, errors.MemoryIncomplete, body=True
        ),
    },
)
async def fork_message(
    *,
    message_id: UUID,
    services: ServicesDep,
    owner: Caller,
    trace_id: TraceId,
    response: Response,
    body: Annotated[ForkIn | None, Body()] = None,
) -> SessionOut:
    """Begin a session that remembers exactly what was remembered after an ended message.

    After a message that failed or was cancelled that is what it was before. The new session's
    list of messages is empty: the old ones stay where they were sent, and
    `forked_from_message_id` names the last of them. With `copy_project` the session works on a
    copy of the project, whose first revision is the code as it was then.
    """
    summary = await services.database.write(_fork, message_id, owner, body or ForkIn())
    response.headers["Location"] = f"/sessions/{summary.session.id}"
    return SessionOut.of(summary, trace_id=trace_id)


async def _fork(db: AsyncSession, message_id: UUID, owner: str, body: ForkIn) -> SessionSummary:
    message = await messages.get(db, message_id, owner=owner)
    # locked, so that a session cannot appear in a project while it is deleted
    project = await projects.lock(db, message.project_id, owner=owner)
    session = await forks.fork(db, message, project, copy_project=body.copy_project)
    return await sessions.summary(db, session.id)
