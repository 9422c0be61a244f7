"""Looking whether a session is whole, and mending it: a worker does it, the client waits."""

from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import Caller, Services, ServicesDep, TraceId, WaitPreference
from api.openapi import problems
from api.schemas.checks import CheckOut, RepairOut
from api.waiting import wait_for_end
from shared import errors
from shared.checks import Report
from shared.errors import NoWorker, SessionBusy
from shared.store import checks, sessions, workers

router = APIRouter(tags=["sessions"])
_AGAIN_AFTER_S = 5.0


@router.get(
    "/sessions/{session_id}/check", responses=problems(errors.SessionNotFound, errors.NoWorker)
)
async def check_session(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Caller,
    trace_id: TraceId,
    wait: WaitPreference,
    request: Request,
) -> CheckOut:
    """Let a worker compare the session's rows, its items and that worker's memory file.

    Any worker may take it, and each host has a memory file of its own: `host` says whose it was.
    Nothing is changed.
    """
    check_id = await services.database.write(_order, session_id, owner, trace_id)
    report = await _report(services, check_id, request, wait=wait, repair=False)
    return CheckOut.of(report, session_id=session_id, trace_id=trace_id)


@router.post(
    "/sessions/{session_id}/repair",
    responses=problems(errors.SessionNotFound, errors.SessionBusy, errors.NoWorker),
)
async def repair_session(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Caller,
    trace_id: TraceId,
    wait: WaitPreference,
    request: Request,
) -> RepairOut:
    """Let a worker mend what a check finds, as far as what is right can be told.

    Counters and attempts follow the rows, items move up over lost ones, and that worker's memory
    file is built anew. What stays in `findings` needs a person: `advice` says what to do.
    """
    check_id = await services.database.write(_order, session_id, owner, trace_id)
    report = await _report(services, check_id, request, wait=wait, repair=True)
    if report.busy:
        raise SessionBusy("A message of the session is in progress. Repair when it has ended.")
    return RepairOut.of(report, session_id=session_id, trace_id=trace_id)


async def _report(
    services: Services, check_id: UUID, request: Request, *, wait: float | None, repair: bool
) -> Report:
    with services.replies.expecting(check_id) as reported:
        await wait_for_end(
            reported,
            seconds=wait or services.settings.sync_wait_s,
            receive=request.receive,
            hint=services.announcer.ask_worker(check_id, repair=repair),
        )
    report = await services.database.write(checks.take, check_id)
    if report is None:
        raise NoWorker(
            "No worker had time for it. Ask again, or let it wait longer with `Prefer: wait=N`.",
            retry_after=_AGAIN_AFTER_S,
        )
    return report


async def _order(db: AsyncSession, session_id: UUID, owner: str, trace_id: str) -> UUID:
    await sessions.get(db, session_id, owner=owner)
    alive, _ = await workers.alive(db)
    if not alive:
        raise NoWorker(
            "There is no worker that could look at the session. Start one, then ask again.",
            retry_after=_AGAIN_AFTER_S,
        )
    return await checks.order(db, session_id, trace_id=trace_id)
