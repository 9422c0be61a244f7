"""What a message's end leaves for webhooks: rows of the same transaction, delivered later."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.tables import Message
from shared.webhooks import Delivery, Webhook


def is_wanted(project_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Say in SQL that `write` may have something to do in a project: a value, no column."""
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
