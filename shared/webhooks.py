"""Webhooks: whom a project tells of its messages' ends, and the outbox of what is to be told."""

import base64
import secrets
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, Uuid, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from shared.database import clock
from shared.statuses import DeliveryStatus
from shared.tables import Base

_PENDING_SQL = text("status = 'pending'")


class new_uuid(FunctionElement[UUID]):  # noqa: N801 -- an SQL function, named like one
    """Make a random id in the database, another one for each row."""

    type = Uuid()
    inherit_cache = True


@compiles(new_uuid, "postgresql")
def _new_uuid_postgresql(*_: Any, **__: Any) -> str:
    return "gen_random_uuid()"


@compiles(new_uuid, "sqlite")
def _new_uuid_sqlite(*_: Any, **__: Any) -> str:
    return "lower(hex(randomblob(16)))"


class Webhook(Base):
    """An address that is told when a message of the project ends as one of `statuses`.

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


def new_secret() -> str:
    """Make what a webhook's deliveries are signed with, as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
