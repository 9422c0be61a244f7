"""What a worker counts: claims, attempts, the model's calls, sweeps."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from shared.metrics import DELAYS_S, count_lost_attempt
from shared.store.transitions import Claim

_CLAIM_DELAY = Histogram(
    "vibecoder_claim_delay_seconds",
    "How long messages were queued before a worker claimed them, behind others of their session "
    "too.",
    buckets=DELAYS_S,
)
_RUNNING = Gauge("vibecoder_attempts_running", "Attempts under way in this process.")
_ATTEMPT = Histogram(
    "vibecoder_attempt_seconds",
    "From the claim to the commit of an attempt, or to its loss.",
    buckets=DELAYS_S,
)
_CALL = Histogram(
    "vibecoder_model_call_seconds",
    "Calls of a model, failed ones too.",
    ["model"],
    buckets=DELAYS_S,
)
_CALL_ERRORS = Counter(
    "vibecoder_model_errors",
    "Calls of a model that failed, also if tried again.",
    ["model", "error"],
)
_TOKENS = Counter("vibecoder_model_tokens", "Tokens that calls cost.", ["model", "kind"])
_SWEEPS = Counter("vibecoder_sweeps", "Sweeps by how they ended.", ["outcome"])
_RESCUED = Counter(
    "vibecoder_sweep_hints",
    "Tasks that a sweep sent: for lost ones, and for messages that were never enqueued.",
)
_DELIVERIES = Counter(
    "vibecoder_webhook_deliveries",
    "Tries to tell a webhook, by what became of the delivery: failed ones are tried again.",
    ["outcome"],
)
for _outcome in ("delivered", "failed", "given_up"):
    _DELIVERIES.labels(_outcome)  # a series from the start
_OURS = {"CancelledError", "GeneratorExit"}
"""Calls that this service broke off itself: no errors of the model."""


@contextmanager
def attempting(claim: Claim) -> Iterator[None]:
    """Count an attempt, how long its message waited and how long it takes."""
    if claim.waited_s is None:
        count_lost_attempt()
    else:
        _CLAIM_DELAY.observe(claim.waited_s)
    with _RUNNING.track_inprogress(), _ATTEMPT.time():
        yield


def count_call(model: str, *, seconds: float, usage: dict[str, int] | None) -> None:
    """Count a call by the name that the model was asked by: its server's names are unbounded."""
    _CALL.labels(model).observe(seconds)
    for kind in ("input", "output"):
        _TOKENS.labels(model, kind).inc((usage or {}).get(f"{kind}_tokens", 0))


def count_call_error(model: str, error: str) -> None:
    """Count a call that failed by no doing of ours."""
    if error not in _OURS:
        _CALL_ERRORS.labels(model, error).inc()


def count_delivery(outcome: str) -> None:
    """Count a try to tell a webhook: `delivered`, `failed` (it comes again) or `given_up`."""
    _DELIVERIES.labels(outcome).inc()


def count_sweep(outcome: str) -> None:
    """Count a sweep: `done`, `away` (database or broker) or `failed`."""
    _SWEEPS.labels(outcome).inc()


def count_rescued(tasks: int) -> None:
    """Count tasks that a sweep sent."""
    _RESCUED.inc(tasks)
