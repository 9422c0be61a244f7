"""Schemas of health, metrics and operations."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from api.schemas.common import Answer, Traced, columns
from shared.tables import Message, Role, Worker


class ProblemKind(Traced):
    """A kind of problem: what a problem's `type` leads to."""

    code: str = Field(examples=["session_busy"])
    status: int = Field(description="The HTTP status that it is answered with.", examples=[409])
    title: str = Field(examples=["Session busy"])
    meaning: str = Field(description="What it tells the client.")


class CallerOut(Traced):
    """The caller of the request."""

    owner: str = Field(description="Whose things they see.", examples=["support"])
    role: Role = Field(description="`read`, `write`, or `admin`: the operator's pages besides.")
    key: str | None = Field(description="The name of their key; null: they came without one.")


class Health(Traced):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(Traced):
    """The state of each part that the service needs."""

    model_config = ConfigDict(populate_by_name=True)

    status: Literal["ready", "not_ready"]
    database: bool = Field(description="The database answers.")
    schema_: bool = Field(alias="schema", description="Its schema is this version's, or newer.")
    broker: bool = Field(description="The broker answers.")
    workers: int = Field(description="Workers with a valid lease.")
    model: str
    models: list[str] = Field(description="What a message may name as its `model`.")


class QueueOut(Answer):
    """The messages that have not ended."""

    queued: int
    running: int
    oldest_s: float | None = Field(
        description="How long the oldest queued message has waited, in seconds."
    )


class WorkerOut(Answer):
    """A worker process with a valid lease."""

    id: UUID
    host: str
    pid: int
    version: str
    started_at: datetime
    running: int = Field(description="Messages that it runs.")
    slots: int = Field(description="Messages that it can run at once.")

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """Show a worker."""
        return cls(**columns(worker, cls))


class MinuteOut(Answer):
    """The messages that ended within a minute."""

    minutes_ago: int = Field(description="0: the last sixty seconds.")
    completed: int
    failed: int
    cancelled: int
    p50_s: float | None = Field(
        description="Median of the seconds from acceptance to the reply, to a third exactly."
    )
    p95_s: float | None = Field(description="What 95 % of the replies took at the most.")


class FailuresOut(Answer):
    """The number of messages that failed for one reason."""

    code: str = Field(examples=["model_timeout"])
    messages: int


class FailedOut(Answer):
    """A message that failed."""

    message_id: UUID
    session_id: UUID
    project_id: UUID
    code: str = Field(examples=["model_timeout"])
    detail: str
    ended_at: datetime
    trace_id: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """Show a message that failed."""
        assert message.error is not None
        reason = {"code": message.error["code"], "detail": message.error["detail"]}
        return cls(message_id=message.id, **columns(message, cls) | reason)


class OperationsOut(Traced):
    """Figures of the service."""

    scope: Literal["service", "own"] = Field(
        description="Whether this is about all projects or about the caller's own."
    )
    queue: QueueOut
    workers: list[WorkerOut] = Field(description="For operators only.")
    minutes: list[MinuteOut] = Field(description="The last hour, oldest first.")
    failures: list[FailuresOut] = Field(description="By code, the most frequent first.")
    last_failures: list[FailedOut] = Field(description="The latest first.")
