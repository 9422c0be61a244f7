"""Checks whether a session's rows agree with each other, and repairs them."""

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import Owner, Services, ServicesDep, TraceId
from api.openapi import problems
from api.schemas.checks import CheckOut, RepairOut
from shared import errors
from shared.database import retried
from shared.errors import SessionNotFound
from shared.logging import get_logger
from shared.store import checks, sessions
from shared.store.checks import IntegrityProblem, SessionSnapshot

router = APIRouter(tags=["sessions"])
_log = get_logger(__name__)


@router.get("/sessions/{session_id}/check", responses=problems(errors.SessionNotFound))
async def check_session(
    session_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> CheckOut:
    """Compare the session's counters, items, messages, attempts, responses and revisions.

    Nothing is changed.
    """
    snapshot = await _read(services, session_id, owner)
    found = checks.inspect(snapshot)
    if found:
        _log.warning("session is not whole", problems=[problem.code for problem in found])
    return CheckOut.of(snapshot, found, trace_id=trace_id)


@router.post(
    "/sessions/{session_id}/repair",
    responses=problems(errors.SessionNotFound, errors.SessionBusy),
)
async def repair_session(
    session_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> RepairOut:
    """Repair the problems of a check where other rows tell the right values.

    Counters and attempts follow the rows, and items move up over lost ones. The problems that stay
    in `findings` need a person: `advice` says how to go on.
    """
    before, snapshot = await services.database.write(_repair, session_id, owner)
    found = checks.inspect(snapshot)
    left = {(problem.code, problem.message_id) for problem in found}
    repaired = [one for one in before if (one.code, one.message_id) not in left]
    if repaired:
        _log.info("session repaired", problems=[problem.code for problem in repaired])
    return RepairOut.of(snapshot, found, mended=repaired, trace_id=trace_id)


@retried
async def _read(services: Services, session_id: UUID, owner: str) -> SessionSnapshot:
    async with services.database.snapshot() as db:
        return await checks.read(db, await sessions.get(db, session_id, owner=owner))


async def _repair(
    db: AsyncSession, session_id: UUID, owner: str
) -> tuple[list[IntegrityProblem], SessionSnapshot]:
    """Repair a session; return its problems before, and its rows after."""
    await sessions.get(db, session_id, owner=owner)
    session = await sessions.lock(db, session_id)
    if session is None:
        raise SessionNotFound(f"There is no session {session_id}.")
    before = checks.inspect(await checks.read(db, session))
    await checks.repair(db, session)
    return before, await checks.read(db, session)
