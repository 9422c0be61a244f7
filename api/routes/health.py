"""Health, readiness, the caller, metrics, and the meaning of each problem."""

from contextlib import suppress
from enum import StrEnum

from fastapi import APIRouter, Response, status
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from api.dependencies import CallerDep, Operator, ServicesDep, TraceId
from api.openapi import described, problems
from api.problems import PROBLEM_TYPES
from api.schemas.operations import CallerOut, Health, ProblemKind, Readiness
from shared import errors
from shared.database import DatabaseAway
from shared.schema import current_revision, is_outdated
from shared.store import workers
from shared.version import VERSION

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
    """Tell whether database, schema, broker and at least one worker are there."""
    broker = await services.channel.ping()
    database, schema, alive = False, False, 0
    with suppress(DatabaseAway, OSError):
        async with services.database.read() as db:
            found = await (await db.connection()).run_sync(current_revision)
            database, schema = True, not is_outdated(found)
            alive, _ = await workers.alive(db)
    ready = database and schema and broker and alive > 0
    response.status_code = status.HTTP_200_OK if ready else status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(
        trace_id=trace_id,
        status="ready" if ready else "not_ready",
        database=database,
        schema_=schema,
        broker=broker,
        workers=alive,
        model=services.settings.default_model,
        models=list(services.settings.allowed_models),
    )


@router.get("/caller", responses={200: described("The caller."), **problems()})
async def get_caller(caller: CallerDep, trace_id: TraceId) -> CallerOut:
    """Describe the caller: the owner, role and name of its key."""
    return CallerOut(trace_id=trace_id, owner=caller.owner, role=caller.role, key=caller.key)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: described("The metrics, in Prometheus's text format.", media_type="text/plain"),
        **problems(errors.RoleInsufficient),
    },
)
async def get_metrics(services: ServicesDep, _: Operator) -> Response:
    """Return the counters of this process and the gauges of the database."""
    await services.scrape.refresh()
    return Response(generate_latest(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


ProblemCode = StrEnum("ProblemCode", {code: code for code in PROBLEM_TYPES})  # type: ignore[misc]


@router.get("/problems/{code}", responses={200: described("The kind."), **problems()})
async def explain_problem(code: ProblemCode, trace_id: TraceId) -> ProblemKind:
    """Explain a type of problem; the `type` of each problem is the address of this page."""
    found = PROBLEM_TYPES[code]
    return ProblemKind(
        trace_id=trace_id,
        code=found.code,
        status=found.status,
        title=found.title,
        meaning=found.meaning,
    )
