"""An attempt as spans of OpenTelemetry: its wait, its run, and what the Agents SDK saw of it.

Names, times, models and tokens; arguments and outputs of tools stay here.
"""

from collections.abc import Iterator
from typing import Any

from shared.store.transitions import Claim
from shared.tables import AttemptOutcome
from shared.telemetry import (
    TelemetrySpan,
    hex_span_id,
    hex_trace_id,
    queue_span_id,
    request_span_id,
    run_span_id,
)
from worker.tracing import RunSpans


def spans_of_run(run: RunSpans, outcome: AttemptOutcome | None) -> Iterator[TelemetrySpan]:
    """Make the spans of an attempt that has just ended here."""
    claim, now = run.claim, run.now()
    trace_id = hex_trace_id(claim.trace_id)
    queue = queue_span_id(claim.message_id, claim.attempt)
    run_id = run_span_id(claim.message_id, claim.attempt)
    about = _about(claim)
    yield TelemetrySpan(
        trace_id,
        queue,
        request_span_id(claim.message_id),
        "message.queue",
        claim.queued_at,
        claim.claimed_at,
        kind="consumer",
        attributes=about,
    )
    yield TelemetrySpan(
        trace_id,
        run_id,
        queue,
        "message.run",
        claim.claimed_at,
        now,
        failed=outcome is AttemptOutcome.FAILED,
        attributes=about | ({"vibecoder.outcome": str(outcome)} if outcome else {}),
    )
    for span in run.all():
        yield _of_sdk(span, trace_id=trace_id, root=run_id, now=now)


def _about(claim: Claim) -> dict[str, str | int]:
    return {
        "vibecoder.message_id": str(claim.message_id),
        "vibecoder.session_id": str(claim.session_id),
        "vibecoder.project_id": str(claim.project_id),
        "vibecoder.attempt": claim.attempt,
    }


def _of_sdk(span: dict[str, Any], *, trace_id: str, root: str, now: float) -> TelemetrySpan:
    parent = span["parent_id"]
    attributes: dict[str, str | int] = {"vibecoder.kind": span["kind"]}
    if span["kind"] == "generation":  # the turn and the task around it repeat its tokens
        attributes["gen_ai.request.model"] = span["name"]
        for name in ("input_tokens", "output_tokens"):
            if (span.get("usage") or {}).get(name) is not None:
                attributes[f"gen_ai.usage.{name}"] = span["usage"][name]
    return TelemetrySpan(
        trace_id,
        hex_span_id(span["span_id"]),
        hex_span_id(parent) if parent else root,
        span["name"],
        span["started_at"],
        span["ended_at"] or now,
        kind="client" if span["kind"] == "generation" else "internal",
        failed="error" in span,
        attributes=attributes,
    )
