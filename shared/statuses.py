"""What can be the case with messages, attempts, deliveries, events: the words of the columns."""

from enum import StrEnum


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
