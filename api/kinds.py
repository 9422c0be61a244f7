"""Every kind of problem that this service answers with: one table."""

from dataclasses import dataclass
from http import HTTPStatus

from shared import errors
from shared.errors import FailureCode, VibeCoderError


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its name for programs, its HTTP status, and what it tells people."""

    code: str
    status: HTTPStatus
    title: str
    meaning: str


def _error(error: type[VibeCoderError], status: int, title: str) -> Kind:
    return Kind(error.code, HTTPStatus(status), title, error.__doc__ or title)


def _http(status: HTTPStatus, meaning: str) -> Kind:
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    return Kind(code, status, status.phrase, meaning)


_ERRORS: dict[type[VibeCoderError], Kind] = {
    kind: _error(kind, status, title)
    for kind, status, title in (
        (errors.KeyRequired, 401, "Key required"),
        (errors.RoleInsufficient, 403, "Role insufficient"),
        (errors.ProjectNotFound, 404, "Project not found"),
        (errors.SessionNotFound, 404, "Session not found"),
        (errors.MessageNotFound, 404, "Message not found"),
        (errors.TraceNotFound, 404, "Trace not found"),
        (errors.RevisionNotFound, 404, "Revision not found"),
        (errors.WebhookNotFound, 404, "Webhook not found"),
        (errors.DeliveryNotFound, 404, "Delivery not found"),
        (errors.SessionBusy, 409, "Session busy"),
        (errors.MessageNotQueued, 409, "Message not queued"),
        (errors.MessageUnfinished, 409, "Message unfinished"),
        (errors.MemoryIncomplete, 409, "Memory incomplete"),
        (errors.WebhooksFull, 409, "Webhooks full"),
        (errors.RevisionMismatch, 412, "Revision mismatch"),
        (errors.BodyTooSlow, 408, "Request timeout"),
        (errors.BodyTooLarge, 413, "Body too large"),
        (errors.HeadTooLarge, 431, "Head too large"),
        (errors.InvalidRequest, 422, "Invalid request"),
        (errors.InvalidWorkflow, 422, "Invalid workflow"),
        (errors.IdempotencyKeyReused, 422, "Idempotency key reused"),
        (errors.RateLimited, 429, "Rate limited"),
        (errors.SessionQueueFull, 429, "Session queue full"),
        (errors.ProjectQueueFull, 429, "Project queue full"),
        (errors.ServiceQueueFull, 503, "Service queue full"),
        (errors.TooManyBodies, 503, "Too many bodies"),
        (errors.ServiceUnavailable, 503, "Service unavailable"),
        (errors.SchemaOutdated, 503, "Schema outdated"),
    )
}

_FAILURES = {
    code: Kind(code.value, HTTPStatus(status), title, meaning)
    for code, status, title, meaning in (
        (
            FailureCode.MODEL_ERROR,
            502,
            "The model failed",
            "The model's server failed, or its answer could not be used.",
        ),
        (
            FailureCode.MODEL_OVERLOADED,
            503,
            "The model is overloaded",
            "The model's server had no capacity, also when it was asked again.",
        ),
        (
            FailureCode.MODEL_REJECTED,
            422,
            "The model's server rejected the request",
            "The model's server would not take the request: too long, or not allowed.",
        ),
        (
            FailureCode.MODEL_REFUSED,
            422,
            "The model refused",
            "The model declined to do what the prompt asks for.",
        ),
        (
            FailureCode.OUTPUT_TRUNCATED,
            422,
            "The answer was cut off",
            "The model reached a limit of its output before its answer was whole.",
        ),
        (
            FailureCode.HISTORY_REJECTED,
            422,
            "The model's server rejected the history",
            "The model's server refuses what the conversation remembers.",
        ),
        (
            FailureCode.MODEL_TIMEOUT,
            504,
            "The model took too long",
            "A call of the model, or the next piece of a stream, did not come within its limit.",
        ),
        (
            FailureCode.TOOL_TIMEOUT,
            504,
            "A tool took too long",
            "A call of a tool did not end within its limit.",
        ),
        (
            FailureCode.RUN_TIMEOUT,
            504,
            "The run took too long",
            "The whole run did not end within its limit.",
        ),
        (
            FailureCode.MAX_TURNS,
            422,
            "Too many turns",
            "The model did not come to an end within the allowed number of calls.",
        ),
        (
            # not 429: clients repeat that by themselves, and waiting does not help
            FailureCode.BUDGET_EXCEEDED,
            402,
            "Budget used up",
            "The session or its project has spent what it may; what was begun is not kept.",
        ),
        (
            FailureCode.MODEL_NOT_PRICED,
            422,
            "Model without a price",
            "A budget in money cannot be held with a model whose price is not known.",
        ),
        (
            FailureCode.USAGE_UNKNOWN,
            422,
            "Usage unknown",
            "A budget cannot be held with a model whose server does not say what a call used.",
        ),
        (
            FailureCode.CODE_CONFLICT,
            409,
            "Code conflict",
            "Other sessions kept changing the same code meanwhile.",
        ),
        (
            FailureCode.WORKER_LOST,
            503,
            "Worker lost",
            "The workers that ran the message died or vanished.",
        ),
        (
            FailureCode.EXPIRED,
            503,
            "Waited too long",
            "No worker had time for the message within the limit.",
        ),
        (
            FailureCode.CANCELLED,
            409,
            "Cancelled",
            "Someone cancelled the message, or cleared or deleted what it belongs to.",
        ),
        (
            FailureCode.WITHDRAWN,
            409,
            "Withdrawn",
            "Someone withdrew the message before a worker had begun it.",
        ),
        (
            FailureCode.INTERNAL,
            500,
            "Internal error",
            "The service failed for a reason of its own.",
        ),
    )
}

_HTTP = {
    status: _http(status, meaning)
    for status, meaning in (
        (HTTPStatus.BAD_REQUEST, "The request cannot be read: its body is not text in UTF-8, ..."),
        (HTTPStatus.NOT_FOUND, "There is nothing at this path."),
        (HTTPStatus.METHOD_NOT_ALLOWED, "The path does not know this method."),
        (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be `application/json`."),
    )
}

KINDS = {kind.code: kind for kind in (*_ERRORS.values(), *_FAILURES.values(), *_HTTP.values())}
"""Every kind of problem by its code."""


def kind_of(what: type[VibeCoderError] | FailureCode | HTTPStatus) -> Kind:
    """Look up how an error, a failure or a bare HTTP status is answered."""
    match what:
        case FailureCode():
            return _FAILURES[what]
        case HTTPStatus():
            return _HTTP.get(what) or _http(what, what.description)
        case _:
            return _ERRORS[what]
