"""Where the Agents SDK's traces go: into the run that they are of, and nowhere else."""

import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import httpx2
from agents import set_trace_processors
from agents.tracing import (
    AgentSpanData,
    FunctionSpanData,
    GenerationSpanData,
    Span,
    SpanError,
    TaskSpanData,
    Trace,
    TracingProcessor,
    TurnSpanData,
    get_current_span,
)
from agents.tracing.processors import default_processor
from typing_extensions import override

from shared.store.records import storable
from shared.store.traces import Spans
from shared.store.transitions import Claim
from shared.tables import AttemptOutcome
from shared.telemetry import (
    TelemetrySpan,
    hex_span_id,
    hex_trace_id,
    queue_span_id,
    request_span_id,
    run_span_id,
    traceparent,
)

_MOST_SPANS = 500
_SHORT, _LONG = 200, 4000
_LONGEST = {"name": _SHORT, "model": _SHORT, "input": _LONG, "output": _LONG, "error": _LONG}
_ALL_TEXT = 200_000  # of one attempt; beyond it every text is a short one

Json = dict[str, Any]


class RunSpans:
    """The spans of one attempt, those that have not ended too; times by the database's clock."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.changes = 0
        self.begun_at = time.time()
        self._ahead = self.begun_at - claim.claimed_at
        self._left_out = 0
        self._room = _ALL_TEXT
        self._spans: dict[str, Span[Any] | Json] = {}

    def collect(self) -> None:
        """Take in the spans of what runs from now on in this context."""
        _RUN.set(self)

    def all(self) -> list[Json]:
        """Return the spans as they are stored, in the order of their beginning."""
        found = [self._written(span) for span in self._spans.values()]
        if self._left_out:
            found[0] = found[0] | {"left_out": self._left_out}
        return found

    def now(self) -> float:
        """Return the database's time, as well as this process knows it."""
        return time.time() - self._ahead

    def so_far(self) -> Spans:
        """Return the spans with whose they are."""
        return Spans(self.claim.message_id, self.claim.attempt, self.all())

    def begin(self, span: Span[Any]) -> None:
        """Take in a span that begins, unless there are too many."""
        if len(self._spans) < _MOST_SPANS:
            self._spans[span.span_id] = span
            self.changes += 1
        else:
            self._left_out += 1

    def end(self, span: Span[Any]) -> None:
        """Keep of a span that ended what is stored, and let go of the model's objects."""
        if span.span_id in self._spans:
            self._spans[span.span_id] = written = self._written(span)
            self._room -= sum(len(written.get(name) or "") for name in _LONGEST)
            self.changes += 1

    def calling(self) -> str | None:
        """Return the span of the model call that is under way: inside of it the SDK hides it."""
        for span in reversed(self._spans.values()):
            if isinstance(span, Span) and isinstance(span.span_data, GenerationSpanData):
                return span.span_id
        return None

    def _written(self, span: Span[Any] | Json) -> Json:
        if isinstance(span, dict):
            return span
        written = {
            "span_id": span.span_id,
            "parent_id": span.parent_id,
            "kind": span.span_data.type,
            **_described(span.span_data),
            "started_at": self._time(span.started_at),
            "ended_at": self._time(span.ended_at),
        }
        if span.error:
            written["error"] = _words(span.error, span.span_data)
        room = max(self._room, _SHORT)
        for name, most in _LONGEST.items():
            if name in written:
                written[name] = _cut(written[name], min(most, room))
        return written

    def _time(self, iso: str | None) -> float | None:
        return datetime.fromisoformat(iso).timestamp() - self._ahead if iso else None


_RUN: ContextVar[RunSpans | None] = ContextVar("run_spans", default=None)


def _described(data: Any) -> Json:
    """Say what a span is about; prompts and replies are not in it, they stand elsewhere."""
    match data:
        case GenerationSpanData():
            model = data.model or "model"
            return {"name": model, "model": model, "usage": data.usage}
        case FunctionSpanData():
            texts = {"input": data.input, "output": data.output}
            known = {name: str(text) for name, text in texts.items() if text is not None}
            return {"name": data.name} | known
        case TurnSpanData():
            return {"name": f"turn {data.turn}", "usage": data.usage}
        case TaskSpanData():
            return {"name": data.name, "usage": data.usage}
        case AgentSpanData():
            return {"name": data.name}
        case _:
            return {"name": str(getattr(data, "name", data.type))}


def _cut(text: str, limit: int) -> str:
    shown, left = storable(text[:limit]), len(text) - limit
    return shown if left <= 0 else f"{shown}… ({left} more characters)"


def _words(error: SpanError, data: object) -> str:
    # of an agent's error the details are the model's server's: they may quote a part of a key
    details = (error["data"] or {}).get("error") if isinstance(data, FunctionSpanData) else None
    return f"{error['message']}: {details}" if details else error["message"]


class _Keeper(TracingProcessor):
    """Hands each span to the run in whose context it begins and ends."""

    @override
    def on_span_start(self, span: Span[Any]) -> None:
        if run := _RUN.get():
            run.begin(span)

    @override
    def on_span_end(self, span: Span[Any]) -> None:
        if run := _RUN.get():
            run.end(span)

    @override
    def on_trace_start(self, trace: Trace) -> None:
        pass

    @override
    def on_trace_end(self, trace: Trace) -> None:
        pass

    @override
    def shutdown(self) -> None:
        pass

    @override
    def force_flush(self) -> None:
        pass


def call_ended(model: str, usage: Json | None, error: str | None) -> None:
    """Complete the span of the model call that is under way."""
    span = get_current_span()
    if span and isinstance(span.span_data, GenerationSpanData):
        span.span_data.model = model
        span.span_data.usage = usage
        if error:
            span.set_error({"message": error, "data": None})


async def hand_on_trace(request: httpx2.Request) -> None:
    """Name the trace and the call's span to the model's server; a `request` hook of the client."""
    run = _RUN.get()
    if run and (span_id := run.calling()):
        request.headers["traceparent"] = traceparent(run.claim.trace_id, span_id)


def keep_traces_here(*, export: bool = False) -> None:
    """Replace the SDK's own processor, which posts to its maker's server; `export`: keep both."""
    set_trace_processors([_Keeper(), *([default_processor()] if export else [])])


def spans_of_run(run: RunSpans, outcome: AttemptOutcome | None) -> Iterator[TelemetrySpan]:
    """Make the spans of OpenTelemetry of an attempt that ended: its wait, its run, the SDK's spans.

    They have names, times, models and tokens, but no arguments or outputs of tools.
    """
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
