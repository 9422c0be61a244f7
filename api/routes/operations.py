"""Figures of the service, for the operator's page."""

from collections.abc import Iterable, Sequence

from fastapi import APIRouter

from api.dependencies import Owner, ServicesDep, SharesOperations, TraceId
from api.openapi import problems
from api.schemas.operations import (
    FailedOut,
    FailuresOut,
    MinuteOut,
    OperationsOut,
    QueueOut,
    WorkerOut,
)
from shared.store import operations
from shared.store.operations import LATENCIES_S, WINDOW_S, Ended
from shared.tables import MessageStatus

router = APIRouter(tags=["operations"])


@router.get("/operations", responses=problems())
async def get_operations(
    services: ServicesDep, caller: Owner, everything: SharesOperations, trace_id: TraceId
) -> OperationsOut:
    """Tell what waits, runs, ended and failed within the last hour, and which workers live.

    An operator sees everything; everyone else what belongs to their own projects, without workers.
    """
    owner = None if everything else caller
    async with services.database.read() as db:
        queue = await operations.queue(db, owner=owner)
        ended = await operations.ended(db, owner=owner)
        failures = await operations.failures(db, owner=owner)
        failed = await operations.last_failures(db, owner=owner)
        workers = await operations.workers(db) if everything else []
    return OperationsOut(
        trace_id=trace_id,
        scope="service" if everything else "own",
        queue=QueueOut.model_validate(vars(queue)),
        workers=[WorkerOut.of(worker) for worker in workers],
        minutes=[_minute(age, ended) for age in reversed(range(WINDOW_S // 60))],
        failures=[FailuresOut(code=code, messages=count) for code, count in failures.items()],
        last_failures=[FailedOut.of(message) for message in failed],
    )


def _minute(age: int, ended: Sequence[Ended]) -> MinuteOut:
    of_minute = [each for each in ended if each.minute == age]
    completed = [each for each in of_minute if each.status == MessageStatus.COMPLETED]

    def count(status: MessageStatus) -> int:
        return sum(each.messages for each in of_minute if each.status == status)

    return MinuteOut(
        minutes_ago=age,
        completed=count(MessageStatus.COMPLETED),
        failed=count(MessageStatus.FAILED),
        cancelled=count(MessageStatus.CANCELLED),
        p50_s=_quantile(completed, 0.5),
        p95_s=_quantile(completed, 0.95),
    )


def _quantile(ended: Iterable[Ended], part: float) -> float | None:
    """Estimate a quantile of the latencies: the upper end of the class that it falls into."""
    by_latency = sorted((each.latency, each.messages) for each in ended)
    needed = part * sum(messages for _, messages in by_latency)
    for latency, messages in by_latency:
        needed -= messages
        if needed <= 0:
            return LATENCIES_S[min(latency, len(LATENCIES_S) - 1)]
    return None
