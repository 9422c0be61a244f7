"""Webhooks, and what became of their deliveries."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, HttpUrl

from api.schemas.common import MESSAGE_ID, PROJECT_ID, TIME, TRACE_ID, Body, Traced, columns
from shared.tables import Delivery, DeliveryStatus, Webhook

_WEBHOOK_ID = "c0b7c7a4-51d5-4f0e-8a53-8d1f9be7a6d2"
_DELIVERY_ID = "e2a9e0f6-2a3b-4c51-9a0e-0f1c55d0b9a7"
_URL = "https://example.com/vibecoder"
_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105 -- an example

Ended = Literal["completed", "failed", "cancelled"]


class WebhookIn(Body):
    """An address that wants to know when messages of the project end."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": _URL}, {"url": _URL, "statuses": ["failed"]}]}
    )

    url: HttpUrl = Field(
        description="Where a POST goes: https, at a public address.", examples=[_URL]
    )
    statuses: list[Ended] = Field(
        ["completed", "failed", "cancelled"],
        min_length=1,
        max_length=3,
        description="How a message must have ended for the webhook to be told.",
        examples=[["completed", "failed"]],
    )


class WebhookOut(Traced):
    """An address that gets a POST when a message of the project ends."""

    id: UUID = Field(examples=[_WEBHOOK_ID])
    project_id: UUID = Field(examples=[PROJECT_ID])
    url: str = Field(examples=[_URL])
    statuses: list[Ended]
    created_at: datetime

    @classmethod
    def of(cls, webhook: Webhook, *, trace_id: str) -> Self:
        """Show a webhook; only one that was just made shows its secret."""
        return cls(trace_id=trace_id, **columns(webhook, cls))


class NewWebhookOut(WebhookOut):
    """A webhook that was just made."""

    secret: str = Field(
        description="What its deliveries are signed with. It is shown now and never again.",
        examples=[_SECRET],
    )


class WebhookDeleted(Traced):
    """A webhook that is gone."""

    id: UUID = Field(examples=[_WEBHOOK_ID])
    status: Literal["deleted"] = "deleted"


_EXAMPLE: dict[str, Any] = {
    "id": _DELIVERY_ID,
    "webhook_id": _WEBHOOK_ID,
    "message_id": MESSAGE_ID,
    "status": "pending",
    "tries": 1,
    "next_at": TIME,
    "http_status": 503,
    "error": None,
    "created_at": TIME,
    "delivered_at": None,
    "trace_id": TRACE_ID,
}


class DeliveryOut(Traced):
    """That a message ended, told to one webhook."""

    model_config = ConfigDict(use_enum_values=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID = Field(description="The header `webhook-id` of each try.", examples=[_DELIVERY_ID])
    webhook_id: UUID = Field(examples=[_WEBHOOK_ID])
    message_id: UUID = Field(examples=[MESSAGE_ID])
    status: DeliveryStatus
    tries: int
    next_at: datetime | None = Field(description="While pending: when it is tried (again).")
    http_status: int | None = Field(description="What the receiver answered to the last try.")
    error: str | None = Field(
        description="Why the last try has no answer: `unknown_host`, `private_address`, "
        "`not_https`, `unreachable`, `tls`, `timeout`, `broken_off`, `internal`.",
        examples=["unreachable"],
    )
    created_at: datetime
    delivered_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery, *, trace_id: str) -> Self:
        """Show a delivery."""
        shown = columns(delivery, cls)
        if delivery.status != DeliveryStatus.PENDING:
            shown["next_at"] = None
        return cls(trace_id=trace_id, **shown)
