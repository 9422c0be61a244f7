"""Checks of sessions: the rows that a check compares, their repair, and who waits for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from pydantic import TypeAdapter
from sqlalchemy import bindparam, case, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from shared.checks import Check, Report
from shared.dialects import any_of, clock
from shared.errors import SessionBusy
from shared.statements import CompiledStatement
from shared.store import sessions
from shared.store.dispatch import is_in_progress
from shared.tables import (
    Attempt,
    AttemptOutcome,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    Revision,
    VibeSession,
)

_REPORT = TypeAdapter(Report)


async def order(db: AsyncSession, session_id: UUID, *, trace_id: str) -> UUID:
    """Ask for a look at a session; return the check's id."""
    check_id = uuid4()
    await db.execute(insert(Check).values(id=check_id, session_id=session_id, trace_id=trace_id))
    return check_id


async def get(db: AsyncSession, check_id: UUID) -> Check | None:
    """Read a check; None: nobody waits for it any more."""
    return await db.get(Check, check_id)


async def answer(db: AsyncSession, check_id: UUID, report: Report) -> None:
    """Store what was found; tolerates that nobody waits for it any more."""
    stored: dict[str, Any] = _REPORT.dump_python(report, mode="json")
    await db.execute(update(Check).where(Check.id == check_id).values(report=stored))


async def take(db: AsyncSession, check_id: UUID) -> Report | None:
    """Read the report of a check, if there is one, and forget the check."""
    report = await db.scalar(delete(Check).where(Check.id == check_id).returning(Check.report))
    return None if report is None else _REPORT.validate_python(report)


async def answered_among(db: AsyncSession, check_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Name those of the checks that have a report."""
    return [row.id for row in await _ANSWERED.all(db, {"ids": check_ids})]


_ANSWERED = CompiledStatement(
    select(Check.id).where(any_of(Check.id, "ids"), Check.report.is_not(None))
)


async def purge(db: AsyncSession, *, ordered_before_s: float) -> None:
    """Forget checks that nobody took: whoever waited for them died."""
    await db.execute(
        delete(Check)
        .where(Check.created_at < clock() - ordered_before_s)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class SessionSnapshot:
    """A session's rows; `items` are those of its current generation.

    Of the messages, in their order, only what is compared is loaded.
    """

    session: VibeSession
    items: Sequence[Item]
    messages: Sequence[Message]
    attempts: Sequence[Attempt]
    answered: frozenset[UUID]
    """Messages whose full response is there."""
    revisions: frozenset[tuple[UUID | None, int]]
    """Messages, and the revision that each made."""


async def snapshot(db: AsyncSession, session_id: UUID) -> SessionSnapshot | None:
    """Read a session's rows; None: there is none. In a snapshot they belong together."""
    session = await db.get(VibeSession, session_id)
    if session is None:
        return None
    here = Message.session_id == session_id
    messages = await db.scalars(
        select(Message)
        .where(here)
        .order_by(Message.seq)
        .options(
            load_only(
                Message.generation,
                Message.seq,
                Message.status,
                Message.attempt,
                Message.revision,
                Message.error,
            )
        )
    )
    attempts = await db.scalars(
        select(Attempt).join(Message, Message.id == Attempt.message_id).where(here)
    )
    answered = await db.scalars(
        select(MessageResponse.message_id)
        .join(Message, Message.id == MessageResponse.message_id)
        .where(here)
    )
    revisions = await db.execute(
        select(Revision.message_id, Revision.number)
        .join(Message, Message.id == Revision.message_id)
        .where(here)
    )
    return SessionSnapshot(
        session=session,
        items=await sessions.items(db, session_id, generation=session.generation),
        messages=messages.all(),
        attempts=attempts.all(),
        answered=frozenset(answered),
        revisions=frozenset((row.message_id, row.number) for row in revisions),
    )


_ENDED = (MessageStatus.FAILED, MessageStatus.CANCELLED)


async def repair(db: AsyncSession, session_id: UUID) -> None:
    """Repair what can be repaired: items move up over lost ones, counters and attempts follow rows.

    A file that holds more or other items than the rows does not match the new counters: it is
    rebuilt when it is next opened, on whichever host.

    Raises:
        SessionBusy: a message is in progress; its attempt relies on the counters.
    """
    session = await sessions.lock(db, session_id)
    running = select(Message.id).where(Message.session_id == session_id, is_in_progress())
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
