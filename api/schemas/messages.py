"""Messages, in short and in full."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from api.schemas.common import (
    MESSAGE_ID,
    PROJECT_ID,
    SESSION_ID,
    TIME,
    TRACE_ID,
    Answer,
    Body,
    Text,
    columns,
)
from shared.store.accept import OnBusy
from shared.store.estimates import QueueEstimate
from shared.tables import Attempt, Message, MessageStatus

MESSAGE: dict[str, Any] = {
    "message_id": MESSAGE_ID,
    "session_id": SESSION_ID,
    "project_id": PROJECT_ID,
    "status": "completed",
    "content": "What does this workflow do?",
    "reply": "It has one agent, triage, which finds out what the customer needs.",
    "diff": "",
    "revision": None,
    "model": "offline",
    "usage": {
        "requests": 1,
        "input_tokens": 406,
        "output_tokens": 48,
        "total_tokens": 454,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
        "uncounted_calls": 0,
    },
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


class FailureOut(Answer):
    """Why a message ended without a reply."""

    code: str = Field(examples=["model_timeout"])
    detail: str
    retryable: bool
    retry_after: float | None = None


class RunUsage(Answer):
    """Tokens of the model calls of one attempt."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: dict[str, Any] = Field(
        default={}, description="How many of them were cached, and what else the server says."
    )
    output_tokens_details: dict[str, Any] = Field(
        default={}, description="How many of them went into reasoning, and what else it says."
    )
    uncounted_calls: int = Field(
        0, description="Calls of whose tokens the server said nothing: with any, this is not all."
    )


def _readable(value: Any, read: ValidatorFunctionWrapHandler) -> RunUsage | None:
    """Read stored usage; what no server can mean is unknown, and the message can be read."""
    try:
        found: RunUsage = read(value)
    except ValidationError:
        return None
    return found


class MessageOut(Answer):
    """One prompt and what became of it."""

    model_config = ConfigDict(use_enum_values=True, json_schema_extra={"examples": [MESSAGE]})

    message_id: UUID = Field(examples=[MESSAGE_ID])
    session_id: UUID = Field(examples=[SESSION_ID])
    project_id: UUID = Field(examples=[PROJECT_ID])
    status: MessageStatus
    content: str = Field(description="The prompt.", examples=["Create a triage agent"])
    reply: str | None = Field(description="What VibeCoder answered.")
    diff: str = Field(description="Unified diff of the code; empty when it did not change.")
    revision: int | None = Field(description="The revision that it made, if it changed the code.")
    model: str = Field(examples=["offline"])
    usage: Annotated[RunUsage | None, WrapValidator(_readable)] = Field(
        description="Tokens of the model calls of the attempt that ended it; null: it has not "
        "ended, or the model's server did not say. All attempts: `/messages/{id}/usage`."
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
        estimate: QueueEstimate | None = None,
        rolled_back: tuple[UUID, ...] = (),
    ) -> Self:
        """Show a message."""
        return cls(
            message_id=message.id,
            position=estimate.position if estimate else None,
            starts_in_s=estimate.starts_in_s if estimate else None,
            rolled_back=list(rolled_back),
            **columns(message, cls),
        )


class AttemptOut(Answer):
    """One try at a message."""

    number: int
    worker_id: UUID
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: FailureOut | None

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Show an attempt."""
        return cls(**columns(attempt, cls))
