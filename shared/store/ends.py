"""The end of a message that no attempt finishes: cancelled, expired, or lost too often."""

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import Failure
from shared.store import outbox
from shared.store.records import close_attempt
from shared.store.types import Ended
from shared.tables import AttemptOutcome, Message, MessageStatus


async def end(db: AsyncSession, message: Message, status: MessageStatus, failure: Failure) -> Ended:
    """End a message of a locked session that no attempt finishes; the next head is not taken."""
    if message.status == MessageStatus.IN_PROGRESS and status is MessageStatus.CANCELLED:
        await close_attempt(db, message.id, message.attempt, AttemptOutcome.CANCELLED)
    message.status = status
    message.error = failure.to_json()
    wanted = outbox.is_wanted(literal(message.project_id))
    message.ended_at, told = (await db.execute(select(clock(), wanted))).one()
    message.event_count = Message.event_count + 1  # in SQL: a run may have reported meanwhile
    await db.flush()
    if told:
        await outbox.write(db, [message.id])
    return Ended((message.id,), codes=(failure.code,), outbox=told)
