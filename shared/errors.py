"""The errors of this service, one small tree; what they mean in HTTP stands in api/problems.py."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID


class VibeCoderError(Exception):
    """Anything that this service refuses or cannot do.

    `code` names the kind for programs, the exception's text says to a person what to do, `extra`
    holds the members that the problem document gets besides.
    """

    code: ClassVar[str]

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class SettingsError(VibeCoderError):
    """A setting is wrong; the process must not start."""

    code = "settings"


class SchemaOutdated(VibeCoderError):
    """The database has an older schema than this code."""

    code = "schema_outdated"


class ServiceUnavailable(VibeCoderError):
    """The database cannot be reached."""

    code = "service_unavailable"


class ProjectNotFound(VibeCoderError):
    """No such project, or it was deleted."""

    code = "project_not_found"


class SessionNotFound(VibeCoderError):
    """No such session, or its project was deleted."""

    code = "session_not_found"


class MessageNotFound(VibeCoderError):
    """No such message, or its project was deleted."""

    code = "message_not_found"


class TraceNotFound(VibeCoderError):
    """No message of the caller has that trace id, or its project was deleted."""

    code = "trace_not_found"


class RevisionNotFound(VibeCoderError):
    """The project has no revision of that number."""

    code = "revision_not_found"


class WebhookNotFound(VibeCoderError):
    """No such webhook, or its project was deleted."""

    code = "webhook_not_found"


class DeliveryNotFound(VibeCoderError):
    """The webhook has no delivery of that id."""

    code = "delivery_not_found"


class WebhooksFull(VibeCoderError):
    """The project has as many webhooks as it may have."""

    code = "webhooks_full"


class InvalidRequest(VibeCoderError):
    """A header, a cursor or a body says what it cannot mean."""

    code = "invalid_request"


class InvalidWorkflow(VibeCoderError):
    """The code is not a workflow that this service would keep; `errors` lists why."""

    code = "invalid_workflow"


class KeyRequired(VibeCoderError):
    """The request bears no key, or none that is valid."""

    code = "key_required"


class RoleInsufficient(VibeCoderError):
    """The key is valid and its role does not allow this."""

    code = "role_insufficient"


class RateLimited(VibeCoderError):
    """The key, or without keys the client's address, has sent as many requests as it may."""

    code = "rate_limited"


class HeadTooLarge(VibeCoderError):
    """The request's address and headers are larger than this service reads."""

    code = "head_too_large"


class BodyTooLarge(VibeCoderError):
    """The request's body is larger than this service reads."""

    code = "body_too_large"


class BodyTooSlow(VibeCoderError):
    """The request's body did not arrive in time."""

    code = "request_timeout"


class TooManyBodies(VibeCoderError):
    """The process holds as many unfinished request bodies as it may."""

    code = "too_many_bodies"


class RevisionMismatch(VibeCoderError):
    """`If-Match` names another revision than the project's."""

    code = "revision_mismatch"


class SessionBusy(VibeCoderError):
    """The session has an unfinished message and the caller asked not to queue behind it."""

    code = "session_busy"


class MessageNotQueued(VibeCoderError):
    """Only a message that no worker has begun can be changed or withdrawn."""

    code = "message_not_queued"


class MessageUnfinished(VibeCoderError):
    """The message has not ended, so the memory after it is not known yet."""

    code = "message_unfinished"


class MemoryIncomplete(VibeCoderError):
    """Items of the memory after the message are no longer in the database."""

    code = "memory_incomplete"


class IdempotencyKeyReused(VibeCoderError):
    """The same key came with another prompt or other options."""

    code = "idempotency_key_reused"


class SessionQueueFull(VibeCoderError):
    """The session has as many unfinished messages as it may have."""

    code = "session_queue_full"


class ProjectQueueFull(VibeCoderError):
    """The project has as many unfinished messages as it may have."""

    code = "project_queue_full"


class ServiceQueueFull(VibeCoderError):
    """The whole service has as many unfinished messages as it may have."""

    code = "service_queue_full"


class MessageFailed(VibeCoderError):
    """A message ended without a reply; `failure` is what its row's `error` says."""

    code = "message_failed"

    def __init__(self, failure: dict[str, Any], *, message_id: UUID) -> None:
        super().__init__(failure["detail"], message_id=str(message_id))
        self.failure = failure


class FailureCode(StrEnum):
    """Why a message ended as failed or cancelled."""

    MODEL_ERROR = "model_error"
    MODEL_OVERLOADED = "model_overloaded"
    MODEL_REJECTED = "model_rejected"
    MODEL_REFUSED = "model_refused"
    OUTPUT_TRUNCATED = "output_truncated"
    HISTORY_REJECTED = "history_rejected"
    MODEL_TIMEOUT = "model_timeout"
    TOOL_TIMEOUT = "tool_timeout"
    RUN_TIMEOUT = "run_timeout"
    MAX_TURNS = "max_turns"
    BUDGET_EXCEEDED = "budget_exceeded"
    MODEL_NOT_PRICED = "model_not_priced"
    USAGE_UNKNOWN = "usage_unknown"
    CODE_CONFLICT = "code_conflict"
    WORKER_LOST = "worker_lost"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Failure:
    """Why a message ended without a reply: for the row, the client and the log."""

    code: FailureCode
    detail: str
    retryable: bool
    retry_after: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the value of the message's `error` column."""
        return {
            "code": str(self.code),
            "detail": self.detail,
            "retryable": self.retryable,
            "retry_after": self.retry_after,
        }
