"""Messages, in short and in full."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.common import (
    MESSAGE_ID,
    PROJECT_ID,
    SESSION_ID,
    TIME,
    TRACE_ID,
    Body,
    Text,
    columns,
)
from shared.store.acceptance import OnBusy
from shared.store.messages import FullMessage
from shared.store.rates import Outlook
from shared.tables import Attempt, Message, MessageStatus

_EXAMPLE: dict[str, Any] = {
    "message_id": MESSAGE_ID,
    "session_id": SESSION_ID,
    "project_id": PROJECT_ID,
    "status": "completed",
    "content": "What does this workflow do?",
    "reply": "It has one agent, triage, which finds out what the customer needs.",
    "diff": "",
    "revision": None,
    "model": "offline",
    "usage": {"requests": 1, "input_tokens": 406, "output_tokens": 48, "total_tokens": 454},
    "error": None,
    "attempt": 1,
    "position": None,
    "starts_in_s": None,
    "rolled_back": [],
    "created_at": TIME,
    "claimed_at": TIME,
    "ended_at": TIME,
    "trace_id": TRACE_ID,
}


class MessageIn(Body):
    """A prompt for VibeCoder."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Create a triage agent"},
                {"prompt": "Make it Spanish", "on_busy": "rollback", "model": "offline"},
            ]
        }
    )

    prompt: Annotated[Text, StringConstraints(min_length=1)] = Field(
        examples=["Create a triage agent"]
    )
    on_busy: OnBusy = Field(
        OnBusy.ENQUEUE,
        description="What to do when the session has an unfinished message: wait behind it, "
        "refuse with 409, or cancel it.",
    )
    model: str | None = Field(None, description="A model that this service allows.")


class MessagePatch(Body):
    """Another prompt for a message that is queued."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "Make it French"}]})

    prompt: Annotated[Text, StringConstraints(min_length=1)] = Field(examples=["Make it French"])


class FailureOut(BaseModel):
    """Why a message ended without a reply."""

    code: str = Field(examples=["model_timeout"])
    detail: str
    retryable: bool
    retry_after: float | None = None


class MessageOut(BaseModel):
    """One prompt and what became of it."""

    model_config = ConfigDict(use_enum_values=True, json_schema_extra={"examples": [_EXAMPLE]})

    message_id: UUID = Field(examples=[MESSAGE_ID])
    session_id: UUID = Field(examples=[SESSION_ID])
    project_id: UUID = Field(examples=[PROJECT_ID])
    status: MessageStatus
    content: str = Field(description="The prompt.", examples=["Create a triage agent"])
    reply: str | None = Field(description="What VibeCoder answered.")
    diff: str = Field(description="Unified diff of the code; empty when it did not change.")
    revision: int | None = Field(description="The revision that it made, if it changed the code.")
    model: str = Field(examples=["offline"])
    usage: dict[str, Any] | None = Field(
        description="Tokens of the model calls of the attempt that ended it; all: "
        "`/messages/{id}/usage`."
    )
    error: FailureOut | None
    attempt: int = Field(description="How often a worker has begun it.")
    position: int | None = Field(
        None, description="While unfinished: how many messages of the session come first."
    )
    starts_in_s: float | None = Field(
        None,
        description="While queued: estimated seconds until a worker begins it, from the rate at "
        "which messages end; null when nothing ended lately.",
    )
    rolled_back: list[UUID] = Field(
        default=[], description="The messages that this one cancelled (`on_busy: rollback`)."
    )
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None
    trace_id: str = Field(examples=[TRACE_ID])

    @classmethod
    def of(
        cls,
        message: Message,
        *,
        outlook: Outlook | None = None,
        rolled_back: tuple[UUID, ...] = (),
    ) -> Self:
        """Show a message."""
        return cls(
            message_id=message.id,
            position=outlook.position if outlook else None,
            starts_in_s=outlook.starts_in_s if outlook else None,
            rolled_back=list(rolled_back),
            **columns(message, cls),
        )


class AttemptOut(BaseModel):
    """One try at a message."""

    number: int
    worker_id: UUID
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: FailureOut | None


_FULL_EXAMPLE = _EXAMPLE | {"tool_calls": [], "responses": [], "items": [], "attempts": []}


class FullMessageOut(MessageOut):
    """A message with the full response."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FULL_EXAMPLE]})

    tool_calls: list[dict[str, Any]] = Field(
        description="Each call of a tool with its arguments and its output."
    )
    responses: list[dict[str, Any]] = Field(
        description="Each call of the model: `raw` is the body as the model's server sent it."
    )
    items: list[dict[str, Any]] = Field(description="What the conversation remembers of it.")
    attempts: list[AttemptOut]

    @classmethod
    def of_full(cls, full: FullMessage) -> Self:
        """Show everything."""
        return cls(
            message_id=full.message.id,
            tool_calls=full.response.tool_calls if full.response else [],
            responses=full.response.responses if full.response else [],
            items=[item.item for item in full.items],
            attempts=[_attempt(attempt) for attempt in full.attempts],
            **columns(full.message, MessageOut),
        )


def _attempt(attempt: Attempt) -> AttemptOut:
    return AttemptOut.model_validate(columns(attempt, AttemptOut))
