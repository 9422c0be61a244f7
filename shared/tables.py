"""The tables. Times are the database's clock in seconds since 1970; what they mean: DESIGN."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.dialects import clock, new_uuid


class MessageStatus(StrEnum):
    """Where a message is in its life; the first two are unfinished, the others final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptOutcome(StrEnum):
    """How one try at a message ended; None while it runs."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    CONFLICT = "conflict"
    LOST = "lost"


class DeliveryStatus(StrEnum):
    """What became of telling a webhook that a message ended; the first is unfinished."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class EventKind(StrEnum):
    """What can happen to a message; the last three are the end."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    TEXT = "text"
    TOOL_CALLED = "tool_called"
    TOOL_ANSWERED = "tool_answered"
    CODE_CHANGED = "code_changed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Role(StrEnum):
    """What a key is good for; each includes the one before."""

    READ = "read"
    """Look at all that the owner has, change nothing."""
    WRITE = "write"
    """Do everything with what the owner has."""
    ADMIN = "admin"
    """See the operator's pages besides: figures of all owners, never their contents."""


UNFINISHED = (MessageStatus.QUEUED, MessageStatus.IN_PROGRESS)
_UNFINISHED_SQL = text("status IN ('queued', 'in_progress')")
_PENDING_SQL = text("status = 'pending'")


class Base(DeclarativeBase):
    """What all tables share: names of constraints that migrations can rely on."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # JSON, never JSONB: JSONB refuses NUL and reorders keys
    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy reads a plain dict
        str: Text,
        float: Double,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON,
    }


class Budgeted:
    """What may be spent on all that is below; None: as much as anybody likes. USD as decimal text.

    A float would not hold cents, and SQLite has no decimals.
    """

    budget_tokens: Mapped[int | None] = mapped_column(BigInteger)
    budget_usd: Mapped[str | None] = mapped_column(String(20))


class Counted:
    """Tokens; cached ones are a part of the input, reasoning a part of the output."""

    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)


class Project(Budgeted, Base):
    """A workflow under construction."""

    __tablename__ = "projects"
    __table_args__ = (Index(None, "owner", "created_at"),)
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 -- SQLAlchemy reads a plain dict

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    name: Mapped[str]
    instructions: Mapped[str]
    code: Mapped[str]
    revision: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=clock())
    updated_at: Mapped[float] = mapped_column(default=clock(), onupdate=clock())
    deleted_at: Mapped[float | None]


class Revision(Base):
    """A state of a project's code; `message_id` is None for a person's own edit."""

    __tablename__ = "revisions"

    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[UUID | None] = mapped_column(Uuid)
    code: Mapped[str]
    diff: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=clock())


class VibeSession(Budgeted, Base):
    """A conversation with VibeCoder, on a project or on one node.

    `item_count` and `last_message_id` describe the current `generation`'s memory; that of a fork
    begins with copies of another session's items.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "project_id", "created_at"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    node_id: Mapped[str | None] = mapped_column(String(64))
    title: Mapped[str | None]
    openai_session_key: Mapped[str] = mapped_column(String(200), unique=True)
    generation: Mapped[int] = mapped_column(default=1)
    next_seq: Mapped[int] = mapped_column(default=1)
    item_count: Mapped[int] = mapped_column(default=0)
    last_message_id: Mapped[UUID | None] = mapped_column(Uuid)
    forked_from_message_id: Mapped[UUID | None] = mapped_column(Uuid)
    created_at: Mapped[float] = mapped_column(default=clock())


class Message(Base):
    """One prompt and what became of it; the queue of record.

    `attempt` only grows and is the fence: a finish names the attempt that it finishes.
    `event_count` numbers its events: 1 is that it was queued, each claim takes the next number
    (`attempts.event`), so does each row of `events`, and the end takes the last.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("session_id", "idempotency_key"),
        UniqueConstraint("session_id", "seq"),
        Index(
            "ix_messages_unfinished_session",
            "session_id",
            "seq",
            postgresql_where=_UNFINISHED_SQL,
            sqlite_where=_UNFINISHED_SQL,
        ),
        Index(
            "ix_messages_unfinished_project",
            "project_id",
            "status",
            "queued_at",
            postgresql_where=_UNFINISHED_SQL,
            sqlite_where=_UNFINISHED_SQL,
        ),
        Index(
            "ix_messages_unfinished_worker",
            "worker_id",
            postgresql_where=text("status = 'in_progress'"),
            sqlite_where=text("status = 'in_progress'"),
        ),
        Index(None, "ended_at"),
        Index(None, "trace_id"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    project_id: Mapped[UUID] = mapped_column(Uuid)
    generation: Mapped[int]
    seq: Mapped[int]
    content: Mapped[str]
    model: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default=MessageStatus.QUEUED)
    attempt: Mapped[int] = mapped_column(default=0)
    lost_count: Mapped[int] = mapped_column(default=0)
    conflict_count: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[UUID | None] = mapped_column(Uuid)
    created_at: Mapped[float] = mapped_column(default=clock())
    queued_at: Mapped[float] = mapped_column(default=clock())
    enqueued_at: Mapped[float | None]
    claimed_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str] = mapped_column(String(64))
    trace_id: Mapped[str] = mapped_column(String(38))
    reply: Mapped[str | None]
    diff: Mapped[str] = mapped_column(default="")
    revision: Mapped[int | None]
    usage: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    event_count: Mapped[int] = mapped_column(default=1, server_default="1")
    streamed: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    ended_ago_s = 0.0
    """How long it had ended when it was read again; no column."""


class Item(Base):
    """One thing that the model remembers; the key refuses a second commit of the same place."""

    __tablename__ = "items"

    session_id: Mapped[UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    generation: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(Uuid, index=True)
    item: Mapped[dict[str, Any]]


class MessageResponse(Base):
    """The full response, apart from the message so that lists stay fast."""

    __tablename__ = "message_responses"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    responses: Mapped[list[Any]]
    tool_calls: Mapped[list[Any]]


class Attempt(Base):
    """One try at a message by one worker; `spans` is what shared/store/traces.py says."""

    __tablename__ = "attempts"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[UUID] = mapped_column(Uuid)
    started_at: Mapped[float] = mapped_column(default=clock())
    ended_at: Mapped[float | None]
    outcome: Mapped[str | None] = mapped_column(String(20))
    error: Mapped[dict[str, Any] | None]
    event: Mapped[int]
    spans: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)


class Event(Base):
    """A report of a run; only messages that somebody watches have them."""

    __tablename__ = "events"

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class ModelCall(Counted, Base):
    """One call of the model, of whatever attempt, successful or not.

    `day` counts from 1970 (UTC). `project_id` and what follows it repeat what the message and
    `usage` say, so that sums are fast.
    """

    __tablename__ = "model_calls"
    __table_args__ = (Index(None, "project_id", "day"),)

    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200))
    usage: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    started_at: Mapped[float]
    ended_at: Mapped[float]
    project_id: Mapped[UUID] = mapped_column(Uuid)
    day: Mapped[int]


class UsageDay(Counted, Base):
    """What model calls of deleted sessions cost: sums that outlive them."""

    __tablename__ = "usage_days"

    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    calls: Mapped[int]
    uncounted_calls: Mapped[int]


class Worker(Base):
    """A worker process and its lease, which covers every message that it runs."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(String(40))
    started_at: Mapped[float] = mapped_column(default=clock())
    lease_expires_at: Mapped[float]
    running: Mapped[int] = mapped_column(default=0)
    slots: Mapped[int]


class ApiKey(Base):
    """A key, without the key."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(10))
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(default=clock())
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class Webhook(Base):
    """An address that gets a delivery when a message of the project ends as one of `statuses`.

    The secret is kept as it is: whoever signs needs it.
    """

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    url: Mapped[str]
    secret: Mapped[str]
    statuses: Mapped[list[Any]]
    created_at: Mapped[float] = mapped_column(default=clock())


class Delivery(Base):
    """That a message ended, for one webhook: written by the transition that ends it.

    Pending, it is due at `next_at`. Who tries it counts `tries` up and puts `next_at` off, which
    is the lease: when it has run out and nothing was recorded, it is due again. `tries` is the
    fence.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("message_id", "webhook_id"),
        Index(None, "webhook_id", "created_at"),
        Index(
            "ix_deliveries_pending",
            "next_at",
            postgresql_where=_PENDING_SQL,
            sqlite_where=_PENDING_SQL,
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=new_uuid())
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    message_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(20), default=DeliveryStatus.PENDING)
    tries: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float] = mapped_column(default=clock())
    http_status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(default=clock())
    delivered_at: Mapped[float | None]
