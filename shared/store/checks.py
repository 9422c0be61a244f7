"""Whether a session's rows agree with each other, and their repair from those that are right.

The check does not read session files: each heals when a worker next opens it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from uuid import UUID

from sqlalchemy import bindparam, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from shared.dialects import clock
from shared.errors import FailureCode, SessionBusy
from shared.store.dispatch import is_in_progress
from shared.tables import (
    UNFINISHED,
    Attempt,
    AttemptOutcome,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    Revision,
    VibeSession,
)

_ENDED = (MessageStatus.FAILED, MessageStatus.CANCELLED)
_FORK = "Fork the last message before it: POST /messages/{id}/fork, and go on there."
_RECORD = "Nothing has to be done: only the record of what was tried is not whole."


@dataclass(frozen=True)
class IntegrityProblem:
    """A problem of a session's rows, with advice; `repairable`: a repair removes it."""

    code: str
    detail: str
    advice: str = "POST /sessions/{id}/repair repairs it."
    repairable: bool = True
    message_id: UUID | None = None


@dataclass(frozen=True)
class SessionSnapshot:
    """A session's rows; `items` are those of its current generation.

    Of items, messages and attempts only the compared columns are loaded.
    """

    session: VibeSession
    items: Sequence[Item]
    messages: Sequence[Message]
    attempts: Sequence[Attempt]
    answered: frozenset[UUID]
    """Messages whose full response is there."""
    revisions: frozenset[tuple[UUID | None, int]]
    """Messages, and the revision that each made."""


async def read(db: AsyncSession, session: VibeSession) -> SessionSnapshot:
    """Read a session's rows, which belong together in a snapshot or under the session's lock."""
    here = Message.session_id == session.id
    items = await db.scalars(
        select(Item)
        .where(Item.session_id == session.id, Item.generation == session.generation)
        .order_by(Item.position)
        .options(load_only(Item.position, Item.message_id))
        .execution_options(populate_existing=True)
    )
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
        select(Attempt)
        .join(Message, Message.id == Attempt.message_id)
        .where(here)
        .options(load_only(Attempt.outcome, Attempt.ended_at))
        .execution_options(populate_existing=True)
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
        items=items.all(),
        messages=messages.all(),
        attempts=attempts.all(),
        answered=frozenset(answered),
        revisions=frozenset((row.message_id, row.number) for row in revisions),
    )


def inspect(snapshot: SessionSnapshot) -> list[IntegrityProblem]:
    """List the problems of a session's rows."""
    return [problem for rule in _RULES for problem in rule(snapshot)]


async def repair(db: AsyncSession, session: VibeSession) -> None:
    """Repair rows from those that are right: items move up over lost ones, counters follow.

    The caller holds the session's lock. A session file that holds more or other items than the rows
    does not match the new counters: it is rebuilt when it is next opened.

    Raises:
        SessionBusy: a message is in progress; its attempt relies on the counters.
    """
    running = select(Message.id).where(Message.session_id == session.id, is_in_progress())
    if await db.scalar(running.limit(1)):
        raise SessionBusy("A message of the session is in progress. Repair when it has ended.")
    await _close_gaps(db, session)
    await _count(db, session)
    await _close_attempts(db, session.id)
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
    """Close open attempts of messages that do not run; that of a completed message completed it."""
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


def _positions(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    places = [item.position for item in snapshot.items]
    lost = sorted(set(range(max(places, default=-1) + 1)) - set(places))
    if lost:
        yield IntegrityProblem(
            "items_missing",
            f"{_many(len(lost), 'item')} between others {'is' if len(lost) == 1 else 'are'} "
            f"missing, the first at position {lost[0]}.",
            "POST /sessions/{id}/repair closes the gap; what was in it is lost to the model. "
            "To go on without the loss fork a message before it.",
        )


def _counters(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    session = snapshot.session
    if session.item_count != len(snapshot.items):
        yield IntegrityProblem(
            "item_count_wrong",
            f"The session counts {_many(session.item_count, 'item')}, there "
            f"{'is' if len(snapshot.items) == 1 else 'are'} {len(snapshot.items)}.",
        )
    last = snapshot.items[-1].message_id if snapshot.items else None
    if session.last_message_id != last:
        yield IntegrityProblem(
            "last_message_wrong",
            f"The session names message {session.last_message_id} as the last that is remembered; "
            f"the last item is of {last}.",
            message_id=last,
        )
    newest = max((message.seq for message in snapshot.messages), default=0)
    if session.next_seq <= newest:
        yield IntegrityProblem(
            "next_seq_wrong",
            f"The session would give its next message number {session.next_seq}; there is one "
            f"with number {newest}, so that message cannot be accepted.",
        )


def _writers(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    """Compare whose items there are, and in which order, with the messages."""
    own = {message.id: message for message in snapshot.messages}
    writers = [writer for writer, _ in groupby(item.message_id for item in snapshot.items)]
    remembered = set(writers)
    inherits = snapshot.session.forked_from_message_id is not None
    inherits = inherits and snapshot.session.generation == 1
    for writer in writers:
        message = own.get(writer)
        if message is None:
            if not inherits:
                yield IntegrityProblem(
                    "item_of_nobody",
                    f"There are items of message {writer}, which is none of this session.",
                    _FORK,
                    repairable=False,
                    message_id=writer,
                )
            continue
        inherits = False  # a fork's inherited items stand before all of its own
        if message.status != MessageStatus.COMPLETED:
            yield IntegrityProblem(
                "item_of_unanswered",
                f"There are items of message {writer}, which is {message.status}.",
                _FORK,
                repairable=False,
                message_id=writer,
            )
    numbers = [own[writer].seq for writer in writers if writer in own]
    if any(after <= before for before, after in pairwise(numbers)):
        yield IntegrityProblem(
            "items_out_of_order",
            "The items do not stand in the order of their messages.",
            "Clear the session (DELETE /sessions/{id}), or fork a message before the disorder.",
            repairable=False,
        )
    for message in snapshot.messages:
        here = message.generation == snapshot.session.generation
        if here and message.status == MessageStatus.COMPLETED and message.id not in remembered:
            yield IntegrityProblem(
                "message_forgotten",
                f"Message {message.id} was answered, but the model remembers nothing of it.",
                "Send its prompt again, or fork the last message before it.",
                repairable=False,
                message_id=message.id,
            )


def _order(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    unfinished = [message for message in snapshot.messages if message.status in UNFINISHED]
    for message in unfinished[1:]:
        if message.status == MessageStatus.IN_PROGRESS:
            yield IntegrityProblem(
                "out_of_turn",
                f"Message {message.id} is in progress before its turn.",
                "Cancel it: POST /messages/{id}/cancel.",
                repairable=False,
                message_id=message.id,
            )


def _attempts(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    numbers: dict[UUID, set[int]] = {}
    messages = {message.id: message for message in snapshot.messages}
    for attempt in snapshot.attempts:
        numbers.setdefault(attempt.message_id, set()).add(attempt.number)
        message = messages[attempt.message_id]
        newest = attempt.number == message.attempt
        completed = newest and message.status == MessageStatus.COMPLETED
        runs = newest and message.status == MessageStatus.IN_PROGRESS
        if not runs and (attempt.outcome is None or attempt.ended_at is None):
            yield _of_attempt("attempt_open", attempt, message)
        elif completed != (attempt.outcome == AttemptOutcome.COMPLETED):
            yield _of_attempt("attempt_outcome_wrong", attempt, message, repairable=completed)
    for message in snapshot.messages:
        if missing := set(range(1, message.attempt + 1)) - numbers.get(message.id, set()):
            yield IntegrityProblem(
                "attempt_missing",
                f"Attempt {min(missing)} of message {message.id} is not recorded.",
                _RECORD,
                repairable=False,
                message_id=message.id,
            )


def _of_attempt(
    code: str, attempt: Attempt, message: Message, *, repairable: bool = True
) -> IntegrityProblem:
    ended = f"ended as {attempt.outcome}" if attempt.outcome else "is not closed"
    return IntegrityProblem(
        code,
        f"Attempt {attempt.number} of message {message.id} {ended}; "
        f"the message is {message.status}.",
        IntegrityProblem.advice if repairable else _RECORD,
        repairable=repairable,
        message_id=message.id,
    )


def _records(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    for message in snapshot.messages:
        if message.status == MessageStatus.COMPLETED and message.id not in snapshot.answered:
            yield IntegrityProblem(
                "response_missing",
                f"The full response of message {message.id} is missing; its reply is there.",
                _RECORD,
                repairable=False,
                message_id=message.id,
            )
        made = (message.id, message.revision)
        if message.revision is not None and made not in snapshot.revisions:
            yield IntegrityProblem(
                "revision_missing",
                f"Message {message.id} made revision {message.revision}, which is not there.",
                "The project's code is as it is; a later revision can be restored.",
                repairable=False,
                message_id=message.id,
            )


def _refusal(snapshot: SessionSnapshot) -> Iterator[IntegrityProblem]:
    """Say why the model's server refused the conversation, if that ended the newest message."""
    newest = max(snapshot.messages, key=lambda message: message.seq, default=None)
    why = (newest and newest.generation == snapshot.session.generation and newest.error) or {}
    if newest and why.get("code") == FailureCode.HISTORY_REJECTED:
        yield IntegrityProblem(
            "history_rejected",
            f"Message {newest.id} failed: {why['detail']}",
            f"Name another model, or clear the session (DELETE /sessions/{{id}}). {_FORK}",
            repairable=False,
            message_id=newest.id,
        )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_RULES = (_positions, _counters, _writers, _order, _attempts, _records, _refusal)
