"""Taking a message: the one place that decides who answers it."""

from uuid import UUID

from sqlalchemy import ColumnElement, Double, and_, bindparam, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import Failure, FailureCode
from shared.store import heads
from shared.store.states import is_running, is_unfinished
from shared.store.transitions import Claim, Ended, as_claim, close_attempt, end
from shared.tables import (
    Attempt,
    AttemptOutcome,
    Message,
    MessageStatus,
    Project,
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
    session = await _lock_session_of(db, message_id)
    if session is None:
        return None
    head, living = await _head(db, session.id, run_limit_s=run_limit_s)
    if head is None or head.id != message_id or living:
        return None
    if head.status == MessageStatus.IN_PROGRESS:
        await record_loss(db, head)
        if head.lost_count >= max_lost:
            return await _give_up(db, head, limit=limit)
    return await _take(db, head, session, worker_id)


async def _lock_session_of(db: AsyncSession, message_id: UUID) -> VibeSession | None:
    return await db.scalar(_LOCK_SESSION_OF, {"of_message": message_id})


async def _head(
    db: AsyncSession, session_id: UUID, *, run_limit_s: float
) -> tuple[Message | None, bool]:
    """Read the session's first unfinished message, and whether a living worker has it."""
    place = {"of_session": session_id, "run_limit_s": run_limit_s}
    row = (await db.execute(_HEAD, place)).one_or_none()
    return (row[0], bool(row[1])) if row else (None, False)


def _held(run_limit_s: ColumnElement[float]) -> ColumnElement[bool]:
    """Say in SQL that a message runs, at a worker whose lease holds, not for too long."""
    return func.coalesce(
        and_(
            is_running(),
            Worker.lease_expires_at > clock(),
            Message.claimed_at > clock() - run_limit_s,
        ),
        False,
    )


# built once: to build a statement takes longer than to run it
_LOCK_SESSION_OF = (
    select(VibeSession)
    .where(
        VibeSession.id
        == select(Message.session_id).where(Message.id == bindparam("of_message")).scalar_subquery()
    )
    .with_for_update(key_share=True)
)
_HEAD = (
    select(Message, _held(bindparam("run_limit_s", type_=Double())))
    .outerjoin(Worker, Worker.id == Message.worker_id)
    .where(Message.session_id == bindparam("of_session"), is_unfinished())
    .order_by(Message.seq)
    .limit(1)
)


async def record_loss(db: AsyncSession, message: Message) -> None:
    """Count the present attempt of a running message as lost."""
    message.lost_count += 1
    await close_attempt(db, message.id, message.attempt, AttemptOutcome.LOST)


async def _give_up(db: AsyncSession, head: Message, *, limit: int) -> Ended:
    await end(db, head, MessageStatus.FAILED, lost(head.lost_count))
    ready = await heads.take_hints(db, head.project_id, limit=limit)
    return Ended(ids=(head.id,), heads=ready)


def lost(count: int) -> Failure:
    """Describe the failure of a message whose workers died `count` times."""
    return Failure(
        FailureCode.WORKER_LOST,
        f"The worker that ran the message was lost ({count} times). Send it again with a new key.",
        retryable=True,
    )


async def _take(db: AsyncSession, head: Message, session: VibeSession, worker_id: UUID) -> Claim:
    project = await db.get_one(Project, session.project_id)
    head.status = MessageStatus.IN_PROGRESS
    head.attempt += 1
    head.worker_id = worker_id
    head.hinted_at = None
    head.claimed_at = clock()
    await db.flush()
    await db.execute(
        insert(Attempt).values(message_id=head.id, number=head.attempt, worker_id=worker_id)
    )
    return as_claim(head, session, project)


async def reclaim(db: AsyncSession, message_id: UUID, attempt: int) -> Claim | None:
    """Read again what was claimed, for a worker that holds an attempt and does not run it."""
    session = await _lock_session_of(db, message_id)
    message = await db.get(Message, message_id)
    if session is None or message is None or message.attempt != attempt:
        return None
    return as_claim(message, session, await db.get_one(Project, session.project_id))
