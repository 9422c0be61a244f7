"""Traces: messages with their attempts and the spans of their runs."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from api.schemas.common import (
    MESSAGE_ID,
    PROJECT_ID,
    SESSION_ID,
    TIME,
    TRACE_ID,
    Answer,
    Traced,
    columns,
)
from api.schemas.messages import AttemptOut, FailureOut
from shared.store.traces import TracedMessage
from shared.tables import MessageStatus

_SPAN: dict[str, Any] = {
    "span_id": "span_31685dc1c5344540a686189e",
    "parent_id": "span_35c0052a8d3d40f8bd4d0b3e",
    "kind": "generation",
    "name": "offline",
    "started_at": TIME,
    "ended_at": TIME,
    "model": "offline",
    "usage": {"requests": 1, "input_tokens": 406, "output_tokens": 48, "total_tokens": 454},
    "input": None,
    "output": None,
    "error": None,
    "left_out": None,
}


class SpanOut(Answer):
    """A step of a run, as the Agents SDK saw it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SPAN]})

    span_id: str
    parent_id: str | None = Field(description="The step that it is a part of.")
    kind: str = Field(
        description="The SDK's word: `task`, `agent`, `turn`, `generation` (a call of the model), "
        "`function` (a call of a tool), ..."
    )
    name: str
    started_at: datetime
    ended_at: datetime | None = Field(description="Null: it did not end, or has not yet.")
    model: str | None = Field(None, description="Which model served, of a call of the model.")
    usage: dict[str, Any] | None = Field(None, description="Tokens.")
    input: str | None = Field(None, description="The arguments of a tool, cut if they are long.")
    output: str | None = Field(None, description="What a tool answered, cut if it is long.")
    error: str | None = Field(None, description="Why it failed.")
    left_out: int | None = Field(
        None, description="Of the first span: how many more there were than are kept."
    )


class TracedAttemptOut(AttemptOut):
    """One try at a message, with the spans of its run as far as it came."""

    spans: list[SpanOut]


class TracedMessageOut(Answer):
    """A message of the trace."""

    model_config = ConfigDict(use_enum_values=True)

    message_id: UUID
    session_id: UUID
    project_id: UUID
    status: MessageStatus
    model: str
    error: FailureOut | None
    created_at: datetime
    ended_at: datetime | None
    attempts: list[TracedAttemptOut]

    @classmethod
    def of(cls, traced: TracedMessage) -> Self:
        """Show a message with its attempts."""
        attempts = [
            TracedAttemptOut(
                **columns(attempt, AttemptOut),
                spans=[SpanOut.model_validate(span) for span in attempt.spans or ()],
            )
            for attempt in traced.attempts
        ]
        message = traced.message
        return cls(message_id=message.id, attempts=attempts, **columns(message, cls))


class TraceOut(Traced):
    """All messages, attempts and spans of one trace id."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "trace_id": TRACE_ID,
                    "messages": [
                        {
                            "message_id": MESSAGE_ID,
                            "session_id": SESSION_ID,
                            "project_id": PROJECT_ID,
                            "status": "completed",
                            "model": "offline",
                            "error": None,
                            "created_at": TIME,
                            "ended_at": TIME,
                            "attempts": [
                                {
                                    "number": 1,
                                    "worker_id": "0d0c3bd2-4a7e-4a9f-8a25-0c1f35f0a0de",
                                    "started_at": TIME,
                                    "ended_at": TIME,
                                    "outcome": "completed",
                                    "error": None,
                                    "spans": [_SPAN],
                                }
                            ],
                        }
                    ],
                }
            ]
        }
    )

    messages: list[TracedMessageOut] = Field(description="Oldest first.")
