"""Usage: tokens and money that a project, a session or a message spent."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from api.dependencies import Owner, ServicesDep, TraceId
from api.openapi import problems
from api.schemas.usage import EPOCH, UsageOut
from shared import errors
from shared.errors import InvalidRequest
from shared.prices import Prices
from shared.store import messages, projects, sessions, usage
from shared.store.usage import Usage

router = APIRouter(tags=["usage"])


async def days(
    first: Annotated[
        dt.date | None,
        Query(alias="from", description="First day, in UTC.", examples=["2026-01-01"]),
    ] = None,
    last: Annotated[
        dt.date | None,
        Query(alias="to", description="Last day, in UTC.", examples=["2026-01-31"]),
    ] = None,
) -> tuple[int, int]:
    """Read from which day to which, counted from 1970; without them from the first to the last."""
    first, last = first or dt.date.min, last or dt.date.max
    if last < first:
        raise InvalidRequest(
            f"to: {last} is before {first}, the first day.",
            errors=[{"parameter": "to", "detail": "before the first day"}],
        )
    return (first - EPOCH).days, (last - EPOCH).days


@router.get("/projects/{project_id}/usage", responses=problems(errors.ProjectNotFound))
async def get_project_usage(
    project_id: UUID,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    days: Annotated[tuple[int, int], Depends(days)],
) -> UsageOut:
    """Read what a project's model calls cost, by day and model, deleted sessions included."""
    async with services.database.read() as db:
        await projects.get(db, project_id, owner=owner)
        found = await usage.of_project(db, project_id, days=days)
    return await _priced(found, services.prices, trace_id)


@router.get("/sessions/{session_id}/usage", responses=problems(errors.SessionNotFound))
async def get_session_usage(
    session_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> UsageOut:
    """Read what a session's model calls cost, also those before it was cleared."""
    async with services.database.read() as db:
        await sessions.get(db, session_id, owner=owner)
        found = await usage.of_session(db, session_id)
    return await _priced(found, services.prices, trace_id)


@router.get("/messages/{message_id}/usage", responses=problems(errors.MessageNotFound))
async def get_message_usage(
    message_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> UsageOut:
    """Read what the model calls of all attempts at a message cost, while it runs too."""
    async with services.database.read() as db:
        await messages.get(db, message_id, owner=owner)
        found = await usage.of_message(db, message_id)
    return await _priced(found, services.prices, trace_id)


async def _priced(found: Sequence[Usage], prices: Prices, trace_id: str) -> UsageOut:
    # in a thread: the first cost of a process takes half a second
    return await asyncio.to_thread(UsageOut.of, found, prices, trace_id=trace_id)
