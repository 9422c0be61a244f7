"""Taking a message: the one place that decides who answers it."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Label,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import Failure, FailureCode
from shared.statements import Prepared
from shared.store import dispatch
from shared.store.ends import end
from shared.store.records import close_attempt
from shared.store.states import is_running, is_unfinished
from shared.store.transitions import Claim, Ended
from shared.store.types import CLAIMED, as_claim
from shared.tables import (
    Attempt,
    AttemptOutcome,
    Message,
    MessageStatus,
    VibeSession,
    Worker,
)


async def claim(
    db: AsyncSession,
    message_id: UUID,
    *,
    worker_id: UUID,
    max_lost: int,
    run_limit_s: float,
    limit: int,
) -> Claim | Ended | None:
    """Take the message for this worker if it is its session's head and nobody's: commit 2.

    A head whose worker's lease has run out is taken over with the next attempt, or failed as
    `worker_lost` if that happened too often: then the answer is what ended. None: the hint was
    late or doubled, or another worker has it.
    """
    session = await _LOCK_SESSION_OF.first(db, {"of_message": message_id})
    if session is None:
        return None
    head = await _HEAD.first(db, {"of_session": session.id, "run_limit_s": run_limit_s})
    if head is None or head.message_id != message_id or head.held:
        return None
    if head.status == MessageStatus.IN_PROGRESS and await _lost_again(db, message_id) >= max_lost:
        return await _give_up(db, message_id, limit=limit)
    taken = await _TAKE.first(db, {"of_message": message_id, "by_worker": worker_id})
    assert taken is not None, "its session is locked"
    begun = {"message_id": message_id, "number": taken.attempt, "worker_id": worker_id}
    await _BEGIN.all(db, begun | {"event": taken.event_count})
    # of the row as it is now: a lost attempt numbers its events without the session's lock
    waited_s = taken.waited_s if head.status == MessageStatus.QUEUED else None
    return replace(as_claim(head), **taken._asdict() | {"waited_s": waited_s})


def _held(run_limit_s: ColumnElement[float]) -> Label[bool]:
    """Say in SQL that a message runs, at a worker whose lease holds, not for too long."""
    return func.coalesce(
        and_(
            is_running(),
            Worker.lease_expires_at > clock(),
            Message.claimed_at > clock() - run_limit_s,
        ),
        False,
    ).label("held")


# built once: to build a statement takes longer than to run it
_LOCK_SESSION_OF = Prepared(
    select(VibeSession.id)
    .where(
        VibeSession.id
        == select(Message.session_id).where(Message.id == bindparam("of_message")).scalar_subquery()
    )
    .with_for_update(key_share=True)
)
_HEAD = Prepared(
    CLAIMED.add_columns(Message.status, _held(bindparam("run_limit_s", type_=Double())))
    .outerjoin(Worker, Worker.id == Message.worker_id)
    .where(Message.session_id == bindparam("of_session"), is_unfinished())
    .order_by(Message.seq)
    .limit(1)
)
_TAKE = Prepared(
    update(Message)
    .where(Message.id == bindparam("of_message"))
    .values(
        status=MessageStatus.IN_PROGRESS,
        attempt=Message.attempt + 1,
        worker_id=bindparam("by_worker"),
        hinted_at=None,
        claimed_at=clock(),
        event_count=Message.event_count + 1,
    )
    .returning(
        Message.attempt,
        Message.claimed_at,
        Message.event_count,
        Message.streamed,
        (Message.claimed_at - Message.queued_at).label("waited_s"),
    )
)
_BEGIN = Prepared(insert(Attempt))


async def _lost_again(db: AsyncSession, message_id: UUID) -> int:
    head = await db.get_one(Message, message_id)
    await record_loss(db, head)
    await db.flush()
    return head.lost_count


async def record_loss(db: AsyncSession, message: Message) -> None:
    """Count the present attempt of a running message as lost."""
    message.lost_count += 1
    await close_attempt(db, message.id, message.attempt, AttemptOutcome.LOST)


async def _give_up(db: AsyncSession, message_id: UUID, *, limit: int) -> Ended:
    head = await db.get_one(Message, message_id)
    failure = lost(head.lost_count)
    ended = await end(db, head, MessageStatus.FAILED, failure)
    return ended | Ended(heads=await dispatch.take_hints(db, head.project_id, limit=limit))


def lost(count: int) -> Failure:
    """Describe the failure of a message whose workers died `count` times."""
    return Failure(
        FailureCode.WORKER_LOST,
        f"The worker that ran the message was lost ({count} times). Send it again with a new key.",
        retryable=True,
    )


async def reclaim(db: AsyncSession, message_id: UUID, attempt: int) -> Claim | None:
    """Read again what was claimed, for a worker that holds an attempt and does not run it."""
    await _LOCK_SESSION_OF.all(db, {"of_message": message_id})
    row = (await db.execute(CLAIMED.where(Message.id == message_id))).one_or_none()
    return as_claim(row) if row and row.attempt == attempt else None
