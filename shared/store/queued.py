"""What may be done to a message that no worker has claimed: change its prompt, or withdraw it."""

from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Failure, FailureCode, MessageNotQueued
from shared.store import dispatch, sessions
from shared.store.ends import end
from shared.store.transitions import Ended
from shared.tables import Message, MessageStatus

WITHDRAWN = Failure(
    FailureCode.WITHDRAWN, "The message was withdrawn before a worker began it.", retryable=False
)


async def change(db: AsyncSession, message: Message, *, prompt: str, request_hash: str) -> None:
    """Give a queued message another prompt.

    Raises:
        MessageNotQueued: a worker has it, or it has ended.
    """
    await _lock(db, message)
    message.content = prompt
    message.request_hash = request_hash
    await db.flush()


async def withdraw(db: AsyncSession, message: Message, *, limit: int) -> Ended:
    """End a queued message; its row stays.

    Raises:
        MessageNotQueued: a worker has it, or it has ended.
    """
    await _lock(db, message)
    ended = await end(db, message, MessageStatus.CANCELLED, WITHDRAWN)
    return ended | Ended(heads=await dispatch.take_hints(db, message.project_id, limit=limit))


async def _lock(db: AsyncSession, message: Message) -> None:
    await sessions.lock(db, message.session_id)
    await db.refresh(message)
    if message.status != MessageStatus.QUEUED:
        raise MessageNotQueued(
            f"The message is {message.status}; only one that is queued can be changed or "
            "withdrawn. POST /messages/{id}/cancel stops one that runs.",
            message_id=str(message.id),
        )
