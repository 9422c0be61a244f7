"""The outbox: deliveries, written with a message's end, and the outcome of each try."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    case,
    cast,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.tables import Delivery, DeliveryStatus, Message, Webhook

_OLDEST = 200


@dataclass(frozen=True)
class DeliveryAttempt:
    """A delivery that this worker tries, with all that the try needs; `tries` is the fence."""

    id: UUID
    tries: int
    webhook_id: UUID
    url: str
    secret: str
    message: Message


def has_webhooks(project_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Say in SQL that `write` may have something to do in a project."""
    return exists().where(Webhook.project_id == project_id)


async def write(db: AsyncSession, message_ids: Sequence[UUID]) -> None:
    """Write a delivery of each of these messages, all just ended, for all who want it."""
    wanted = (
        select(Webhook.id, Message.id)
        .join(Message, Message.project_id == Webhook.project_id)
        .where(
            Message.id.in_(message_ids),
            cast(Webhook.statuses, Text).contains('"' + Message.status + '"'),
        )
        # one that is deleted at this moment is left out, and not refused as a key at the insert
        .with_for_update(of=Webhook, read=True, key_share=True)
    )
    await db.execute(insert(Delivery).from_select(["webhook_id", "message_id"], wanted))


async def due(
    db: AsyncSession,
    *,
    at_once: int,
    limit: int,
    of: Collection[UUID] | None = None,
    but_of: Collection[UUID] = (),
    running: Mapping[UUID, int] | None = None,
) -> Sequence[UUID]:
    """List deliveries that are due, the longest first; of each webhook as many as it has room for.

    A webhook has room for `at_once` tries less those that are `running`.
    """
    if limit <= 0 or (of is not None and not of):
        return ()
    running = running or {}
    full = [webhook for webhook, count in running.items() if count >= at_once]
    wanted = Delivery.webhook_id.not_in([*but_of, *full])
    if of is not None:
        wanted = Delivery.webhook_id.in_(of)
    # so many rows, found by the index: a webhook that has thousands does not cost a sort of them
    oldest = (
        select(Delivery.id, Delivery.webhook_id, Delivery.next_at)
        .where(_is_due(), wanted)
        .order_by(Delivery.next_at)
        .limit(_OLDEST)
        .subquery()
    )
    nth = func.row_number().over(partition_by=oldest.c.webhook_id, order_by=oldest.c.next_at)
    ranked = select(oldest, nth.label("nth")).subquery()
    taken = case(running, value=ranked.c.webhook_id, else_=0) if running else 0
    found = await db.scalars(
        select(ranked.c.id)
        .where(ranked.c.nth + taken <= at_once)
        .order_by(ranked.c.next_at)
        .limit(limit)
    )
    return found.all()


async def take(db: AsyncSession, ids: Collection[UUID], *, lease_s: float) -> list[DeliveryAttempt]:
    """Take those of the deliveries that are still due and that no other worker is taking."""
    free = select(Delivery.id).where(Delivery.id.in_(ids), _is_due())
    free = free.with_for_update(skip_locked=True)
    taken = await db.scalars(
        update(Delivery)
        .where(Delivery.id.in_(select(free.cte().c.id)))
        .values(tries=Delivery.tries + 1, next_at=clock() + lease_s)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    rows = await db.execute(
        select(Delivery.id, Delivery.tries, Webhook, Message)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .join(Message, Message.id == Delivery.message_id)
        .where(Delivery.id.in_(taken.all()))
    )
    return [
        DeliveryAttempt(
            row.id, row.tries, row.Webhook.id, row.Webhook.url, row.Webhook.secret, row.Message
        )
        for row in rows
    ]


async def record(
    db: AsyncSession,
    delivery: DeliveryAttempt,
    status: DeliveryStatus,
    *,
    http_status: int | None,
    error: str | None,
    again_in_s: float = 0.0,
) -> None:
    """Write the outcome of a try, unless its lease ended and another worker tried again."""
    at = clock()
    await db.execute(
        update(Delivery)
        .where(Delivery.id == delivery.id, Delivery.tries == delivery.tries, _is_pending())
        .values(
            status=status,
            next_at=at + again_in_s,
            http_status=http_status,
            error=error,
            delivered_at=at if status is DeliveryStatus.DELIVERED else None,
        )
        .execution_options(synchronize_session=False)
    )


async def overdue_s(db: AsyncSession) -> float:
    """Tell how long the delivery has been due that has been for the longest time."""
    longest = clock() - func.min(Delivery.next_at)
    return max(await db.scalar(select(longest).where(_is_pending())) or 0.0, 0.0)


def _is_due() -> ColumnElement[bool]:
    # a subquery: PostgreSQL uses no index for what it must compute anew for each row
    return _is_pending() & (Delivery.next_at <= select(clock()).scalar_subquery())


def _is_pending() -> ColumnElement[bool]:
    # a constant: the index is for this very word
    return Delivery.status == literal_column(f"'{DeliveryStatus.PENDING}'")
