"""Spans for an OpenTelemetry collector: how those of API and workers find together.

A message's spans have ids that are made of its own, so nothing that could get lost carries them:
the request that accepted it, for each attempt how long it was queued, and the attempt's run.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast
from uuid import UUID, uuid5

from shared.errors import SettingsError
from shared.settings import Settings


@dataclass(frozen=True)
class TelemetrySpan:
    """One span; ids as W3C Trace Context writes them, in hex, times in seconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started_at: float
    ended_at: float
    kind: Literal["internal", "server", "client", "consumer"] = "internal"
    failed: bool = False
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)


class Telemetry(Protocol):
    """The export of spans; no run waits for it, and a collector that is away loses them."""

    def export(self, span: TelemetrySpan) -> None:
        """Send a span, with others, in a moment."""

    def close(self) -> None:
        """Send the remaining spans, for a few seconds at the most."""


def open_telemetry(settings: Settings, *, process: str) -> Telemetry | None:
    """Open the way to the settings' collector; None: they name none.

    Raises:
        SettingsError: they name one, and the packages for it are not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:  # by name: without an endpoint nobody pays for loading it
        otlp = importlib.import_module("shared.otlp")
    except ModuleNotFoundError:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs the extra `otel`: run `pip install '.[otel]'`, "
            "or unset it."
        ) from None
    return cast(Telemetry, otlp.Otlp(settings.otlp_endpoint, service=f"vibecoder-{process}"))


def request_span_id(message_id: UUID) -> str:
    """Name the span of the request that accepted a message."""
    return _span_id(message_id, "request")


def queue_span_id(message_id: UUID, attempt: int) -> str:
    """Name the span of a message's wait for an attempt."""
    return _span_id(message_id, f"queue {attempt}")


def run_span_id(message_id: UUID, attempt: int) -> str:
    """Name the span of an attempt's run."""
    return _span_id(message_id, f"run {attempt}")


def _span_id(message_id: UUID, what: str) -> str:
    return uuid5(message_id, what).hex[:16]


def traceparent(trace_id: str, span_id: str) -> str:
    """Write the header of W3C Trace Context for ids in the Agents SDK's form."""
    return f"00-{hex_trace_id(trace_id)}-{hex_span_id(span_id)}-01"


def hex_trace_id(trace_id: str) -> str:
    """Take the 32 hex digits of `trace_...`."""
    return trace_id.removeprefix("trace_")


def hex_span_id(span_id: str) -> str:
    """Take the first 16 hex digits of `span_...`: the Agents SDK's have 24."""
    return span_id.removeprefix("span_")[:16]
