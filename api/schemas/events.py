"""Events of a stream, as the OpenAPI document describes them; api/routes/events.py makes them."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.schemas.common import MESSAGE_ID
from api.schemas.messages import MessageOut
from api.schemas.problems import Problem
from shared.tables import EventKind

_DATA: dict[str, Any] = {
    "message_id": MESSAGE_ID,
    "at": "2026-01-31T12:00:01+00:00",
    "attempt": 1,
    "call": 1,
    "text": "It has one agent",
}

STREAM: dict[str, Any] = {
    "type": "string",
    "description": "Server-sent events, each an `EventOut`.",
    "contentMediaType": "text/event-stream",
    "contentSchema": {"$ref": "#/components/schemas/EventOut"},
}
"""The schema of a stream as a whole: OpenAPI has one for each event (`itemSchema`) from 3.2 on."""


class EventData(BaseModel):
    """The data of an event; all members but the first two depend on its kind."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DATA]})

    message_id: UUID
    at: datetime | None
    attempt: int | None = Field(None, description="Of all but `queued`.")
    session_id: UUID | None = Field(None, description="`queued`.")
    trace_id: str | None = Field(None, description="`queued`.")
    position: int | None = Field(None, description="`queued`: how many come first.")
    starts_in_s: float | None = Field(None, description="`queued`: seconds until it begins.")
    previous_outcome: str | None = Field(
        None, description="`claimed`: what became of the attempt before; `lost`, for example."
    )
    call: int | None = Field(None, description="`text`: another call begins another text.")
    text: str | None = Field(None, description="`text`: what the model wrote since the last one.")
    call_id: str | None = Field(None, description="`tool_called`, `tool_answered`: which call.")
    name: str | None = Field(None, description="`tool_called`, `tool_answered`: the tool.")
    arguments: str | None = Field(None, description="`tool_called`: as the model wrote them.")
    output: str | None = Field(None, description="`tool_answered`.")
    diff: str | None = Field(None, description="`code_changed`.")
    message: MessageOut | None = Field(None, description="`completed`, `failed`, `cancelled`.")
    problem: Problem | None = Field(None, description="`failed`, `cancelled`: why.")


_JSON: dict[str, Any] = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/EventData"},
}


class EventOut(BaseModel):
    """One server-sent event."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "3", "event": "text", "data": json.dumps(_DATA)}]}
    )

    id: str = Field(pattern="^[0-9]+$", description="Its number: 1 for the first, without gaps.")
    event: EventKind
    data: Annotated[str, WithJsonSchema(_JSON)]
