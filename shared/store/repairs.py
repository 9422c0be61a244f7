"""Mending a session's rows where what is right can be told from the others."""

from uuid import UUID

from sqlalchemy import bindparam, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import SessionBusy
from shared.store import sessions
from shared.store.states import is_running
from shared.tables import Attempt, AttemptOutcome, Item, Message, MessageStatus, VibeSession

_ENDED = (MessageStatus.FAILED, MessageStatus.CANCELLED)


async def mend(db: AsyncSession, session_id: UUID) -> None:
    """Mend what can be mended: items move up over lost ones, counters and attempts follow rows.

    A file that holds more or other items than the rows does not match the new counters: it is
    built anew when it is next opened, on whichever host.

    Raises:
        SessionBusy: a message is in progress; its attempt relies on the counters.
    """
    session = await sessions.lock(db, session_id)
    running = select(Message.id).where(Message.session_id == session_id, is_running())
    if session is None or await db.scalar(running.limit(1)):
        raise SessionBusy("A message of the session is in progress. Repair when it has ended.")
    await _close_gaps(db, session)
    await _count(db, session)
    await _close_attempts(db, session_id)
    await db.flush()


async def _close_gaps(db: AsyncSession, session: VibeSession) -> None:
    here = (Item.session_id == session.id) & (Item.generation == session.generation)
    places = (await db.scalars(select(Item.position).where(here).order_by(Item.position))).all()
    moves = [{"old": old, "new": new} for new, old in enumerate(places) if new != old]
    if moves:  # one by one, the first first: each place is free by then
        move = update(Item).where(here, Item.position == bindparam("old"))
        core = await db.connection()
        await core.execute(move.values(position=bindparam("new")), moves)


async def _count(db: AsyncSession, session: VibeSession) -> None:
    here = (Item.session_id == session.id) & (Item.generation == session.generation)
    session.item_count = await db.scalar(select(func.count()).where(here)) or 0
    session.last_message_id = await db.scalar(
        select(Item.message_id).where(here).order_by(Item.position.desc()).limit(1)
    )
    of_session = select(func.max(Message.seq)).where(Message.session_id == session.id)
    session.next_seq = max(session.next_seq, (await db.scalar(of_session) or 0) + 1)


async def _close_attempts(db: AsyncSession, session_id: UUID) -> None:
    """Close what is open though nothing runs; a completed message's attempt completed it."""
    newest = Attempt.number == Message.attempt
    completed = newest & (Message.status == MessageStatus.COMPLETED)
    wrong = or_(
        Attempt.outcome.is_(None),
        Attempt.ended_at.is_(None),
        completed & (Attempt.outcome != AttemptOutcome.COMPLETED),
    )
    outcome = case(
        (completed, AttemptOutcome.COMPLETED),
        (Attempt.outcome.is_not(None), Attempt.outcome),
        (newest & Message.status.in_(_ENDED), Message.status),
        else_=AttemptOutcome.LOST,
    )
    await db.execute(
        update(Attempt)
        .where(Attempt.message_id == Message.id, Message.session_id == session_id, wrong)
        .values(
            outcome=outcome, ended_at=func.coalesce(Attempt.ended_at, Message.ended_at, clock())
        )
        .execution_options(synchronize_session=False)
    )
