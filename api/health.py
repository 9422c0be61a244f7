"""What the service says about itself: it lives, it is ready, and what its problems mean."""

from enum import StrEnum

from fastapi import APIRouter, Response, status
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import ServicesDep, TraceId
from api.kinds import KINDS
from api.openapi import described, problems
from api.schemas.operations import Health, ProblemKind, Readiness
from shared.store import workers

VERSION = "0.1.0"
router = APIRouter(tags=["operations"])


@router.get("/health", responses={200: described("It answers.")})
async def get_health(trace_id: TraceId) -> Health:
    """Tell that this process answers."""
    return Health(trace_id=trace_id, version=VERSION)


@router.get(
    "/ready",
    responses={
        200: described("It can."),
        503: {"model": Readiness, **described("Something is missing: see the body.")},
    },
)
async def get_readiness(services: ServicesDep, trace_id: TraceId, response: Response) -> Readiness:
    """Tell whether database, broker and at least one worker are there."""
    broker = await services.channel.ping()
    try:
        async with services.database.read() as db:
            alive, _ = await workers.alive(db)
        database = True
    except (SQLAlchemyError, OSError):
        alive, database = 0, False
    ready = database and broker and alive > 0
    response.status_code = status.HTTP_200_OK if ready else status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(
        trace_id=trace_id,
        status="ready" if ready else "not_ready",
        database=database,
        broker=broker,
        workers=alive,
        model=services.settings.default_model,
        models=list(services.settings.allowed_models),
    )


ProblemCode = StrEnum("ProblemCode", {code: code for code in KINDS})  # type: ignore[misc]


@router.get("/problems/{code}", responses={200: described("The kind."), **problems()})
async def explain_problem(code: ProblemCode, trace_id: TraceId) -> ProblemKind:
    """Tell what a kind of problem means: what the `type` of each problem leads to."""
    kind = KINDS[code]
    return ProblemKind(
        trace_id=trace_id,
        code=kind.code,
        status=kind.status,
        title=kind.title,
        meaning=kind.meaning,
    )
