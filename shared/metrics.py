"""What API and worker processes count alike; the Prometheus client's own registry holds it.

Counters tell rates, not records: what a process counted ends with it, and an end whose commit's
acknowledgement was lost is not counted. The database is the record.
"""

from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, disable_created_metrics

from shared.errors import FailureCode

# a second series for each counter that nobody reads
disable_created_metrics()  # type: ignore[no-untyped-call]

DELAYS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
"""Buckets for what takes milliseconds when all is well, and minutes when it is not."""

TASKS = Counter("vibecoder_hints", "Tasks by whether the broker took them in time.", ["outcome"])
_ENDED = Counter("vibecoder_messages_ended", "Messages that ended.", ["status", "code"])
_LOST = Counter("vibecoder_attempts_lost", "Attempts whose worker was lost.")
_POOL = Gauge("vibecoder_pool_in_use", "Database connections in use.", ["process"])
_POOL_SIZE = Gauge("vibecoder_pool_size", "Database connections at the most.", ["process"])
_CANCELS = {FailureCode.CANCELLED, FailureCode.WITHDRAWN}


def count_ended(codes: Iterable[FailureCode | None]) -> None:
    """Count what a transition ended, by status and failure code (None: completed)."""
    for code in codes:
        _ENDED.labels(_status(code), code or "").inc()
        if code is FailureCode.WORKER_LOST:
            count_lost_attempt()


def _status(code: FailureCode | None) -> str:
    if code is None:
        return "completed"
    return "cancelled" if code in _CANCELS else "failed"


def count_lost_attempt() -> None:
    """Count an attempt that another one takes over, or that was its message's last."""
    _LOST.inc()


def _begin_at_zero() -> None:
    """Let rare things be series from the start: what begins at 1 has not increased for a rule."""
    for code in (None, *FailureCode):
        _ENDED.labels(_status(code), code or "")
    for outcome in ("sent", "failed"):
        TASKS.labels(outcome)


_begin_at_zero()


def watch_pool(in_use: Callable[[], int], *, most: int, process: str) -> None:
    """Let each scrape ask how many of a process's connections are in use."""
    _POOL.labels(process).set_function(in_use)
    _POOL_SIZE.labels(process).set(most)
