"""What a webhook is told of a message's end, and how it knows that it was us: Standard Webhooks."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from standardwebhooks import Webhook

from shared.store.deliveries import Try
from shared.tables import Message
from shared.version import VERSION


class _Told(BaseModel):
    """A message that has ended, by the names and in the forms of `GET /messages/{id}`."""

    model_config = ConfigDict(from_attributes=True)

    message_id: UUID = Field(validation_alias="id")
    session_id: UUID
    project_id: UUID
    status: str
    content: str
    reply: str | None
    diff: str
    revision: int | None
    model: str
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    attempt: int
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime
    trace_id: str


def body_of(message: Message) -> bytes:
    """Write what is told of a message that has ended: the same bytes at each try."""
    data = _Told.model_validate(message).model_dump(mode="json")
    notice = {"type": f"message.{message.status}", "timestamp": data["ended_at"], "data": data}
    # escaped: a model may have sent half of a surrogate pair, which UTF-8 cannot say
    return json.dumps(notice, separators=(",", ":")).encode()


def headers_of(tried: Try, body: bytes, *, sent_at: datetime) -> dict[str, str]:
    """Sign a body, with the time of this try; the id is the same at each, so doubles are known."""
    delivery_id = str(tried.id)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"VibeCoder-Webhooks/{VERSION}",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": Webhook(tried.secret).sign(delivery_id, sent_at, body.decode()),
    }
