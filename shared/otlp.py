"""Sending spans with OpenTelemetry's SDK; loaded by shared/telemetry.py when somebody wants it."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from typing_extensions import override

from shared.logging import get_logger
from shared.telemetry import TelemetrySpan

_EVERY_MS = 1000
_LIMIT_S = 3
_NS = 1_000_000_000
_log = get_logger(__name__)


class _Exporter(OTLPSpanExporter):
    """OpenTelemetry's exporter, but a collector that is away is one line in the log."""

    _away = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            _log.warning("collector lost: spans are dropped until it is back")
        self._away = away
        return result


class Otlp:
    """A collector that speaks OTLP over HTTP; its other settings are OpenTelemetry's own."""

    def __init__(self, endpoint: str, *, service: str) -> None:
        exporter = _Exporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_LIMIT_S)
        self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=_EVERY_MS)
        self._resource = Resource.create({"service.name": service})

    def export(self, span: TelemetrySpan) -> None:
        """Send a span, with others, in a moment."""
        parent = _context(span.trace_id, span.parent_id) if span.parent_id else None
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_context(span.trace_id, span.span_id),
                parent=parent,
                resource=self._resource,
                attributes=span.attributes,
                kind=SpanKind[span.kind.upper()],
                status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
                start_time=int(span.started_at * _NS),
                end_time=int(span.ended_at * _NS),
            )
        )

    def close(self) -> None:
        """Send the remaining spans, for a few seconds at the most."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def _context(trace_id: str, span_id: str) -> SpanContext:
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=sampled)
