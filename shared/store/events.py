"""The events of a message, numbered without gaps.

Number 1 is that it was queued (`messages`), each claim has a number (`attempts.event`), what a run
reports are rows of `events`, and the end has the last number (`messages.event_count`). So a message
that nobody watches costs no row; a reader puts them together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Executable,
    Integer,
    Select,
    and_,
    bindparam,
    column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import any_of, insert_new
from shared.statements import CompiledRows, CompiledStatement, insert_rows
from shared.store import estimates
from shared.store.dispatch import is_in_progress, is_unfinished
from shared.tables import UNFINISHED, Attempt, Event, EventKind, Message


@dataclass(frozen=True)
class RunEvent:
    """A report of a run, under the number that it will have; `created_at` in s since 1970."""

    seq: int
    kind: EventKind
    data: dict[str, Any]
    created_at: float


@dataclass(frozen=True)
class Batch:
    """Events of one attempt that are not known to be stored, at least one."""

    message_id: UUID
    attempt: int
    events: Sequence[RunEvent]

    @property
    def last(self) -> int:
        """Return the number of the newest one."""
        return self.events[-1].seq


@dataclass(frozen=True)
class EventRecord:
    """An event as clients get it: the end and the queueing have a number and no row."""

    seq: int
    kind: EventKind
    attempt: int
    data: dict[str, Any]
    created_at: float | None


@dataclass(frozen=True)
class Page:
    """The events after a number, without gaps; `ended`: the last one is the message's end.

    `state` is a part of the message's row; `more` says that there are further events already.
    """

    events: Sequence[EventRecord]
    state: Any = None
    ended: bool = False
    more: bool = False


async def append(db: AsyncSession, batches: Sequence[Batch]) -> None:
    """Store reports of attempts under way; none of an attempt that is no longer its message's.

    An attempt's numbers are its own from its claim on, so this tolerates a repetition. In the
    order of the messages' ids, as everyone who locks several of them.
    """
    fences = [
        {"message_id": batch.message_id, "attempt": batch.attempt, "event_count": batch.last}
        for batch in sorted(batches, key=lambda batch: batch.message_id)
    ]
    passed = {counted.id for counted in await _COUNT.all(db, fences)}
    await insert(db, *(batch for batch in batches if batch.message_id in passed))


async def insert(db: AsyncSession, *batches: Batch) -> None:
    """Store the rows alone: for a transaction that has passed the fence and counted them."""
    rows = [
        {
            "message_id": batch.message_id,
            "seq": event.seq,
            "attempt": batch.attempt,
            "kind": event.kind,
            "data": event.data,
            "created_at": event.created_at,
        }
        for batch in batches
        for event in batch.events
    ]
    await _INSERT.all(db, rows)


async def want(db: AsyncSession, message_id: UUID) -> bool:
    """Mark an unfinished message as watched; False: it was marked already, or it has ended."""
    unknown = (Message.id == message_id) & ~Message.streamed & is_unfinished()
    core = await db.connection()
    return (await core.execute(update(Message).where(unknown).values(streamed=True))).rowcount > 0


async def wanted_of(db: AsyncSession, worker_id: UUID) -> Sequence[UUID]:
    """Name the messages that run at a worker and are watched."""
    here = (Message.worker_id == worker_id) & is_in_progress() & Message.streamed
    return (await db.scalars(select(Message.id).where(here))).all()


async def counts(db: AsyncSession, message_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Count the events of messages."""
    return {row.id: row.event_count for row in await _COUNTS.all(db, {"ids": message_ids})}


_COUNTS = CompiledStatement(
    select(Message.id, Message.event_count).where(any_of(Message.id, "ids"))
)


async def pages(
    db: AsyncSession, asked: Collection[tuple[UUID, int]], *, limit: int
) -> Sequence[Page]:
    """Read the events that follow one of each message, up to `limit` numbers further.

    One statement for up to 64 of them, and one for each that begins another attempt than its
    first; the pages are in the order of the question.
    """
    found: dict[tuple[UUID, int], list[Any]] = {place: [] for place in asked}
    room = next((size for size in _ROOMS if size >= len(found)), len(found))
    filled = [*found, *[_NOTHING] * (room - len(found))]
    places = [{"message_id": message_id, "after": after} for message_id, after in filled]
    for row in await _PAGES.all(db, places, most=limit):
        found[row.id, row.after].append(row)
    return [await _page(db, place, rows, limit) for place, rows in found.items()]


async def _page(db: AsyncSession, place: tuple[UUID, int], rows: Sequence[Any], limit: int) -> Page:
    if not rows:
        return Page((), ended=True)
    (message_id, after), state = place, rows[0]
    found = [_stored(row) for row in rows if row.seq is not None]
    until, ended = after + limit, state.status not in UNFINISHED
    more = state.event_count > until
    if after == 0:
        found = [_queued(state), *found]
    # the attempts' numbers are what is missing, mostly nothing: then they need not be read
    if after + len(found) + (ended and not more) != min(until, state.event_count):
        known = (
            [state] if state.number == 1 else await _ATTEMPTS.all(db, {"of_message": message_id})
        )
        begun = [_claimed(known, place) for place in range(len(known))]
        found += [record for record in begun if after < record.seq <= min(until, state.event_count)]
        found.sort(key=_number)
    if not ended:  # read in two steps: what came meanwhile may leave a gap
        found = [record for number, record in enumerate(found, after + 1) if record.seq == number]
    if more or not ended:
        return Page(found, state, more=more and bool(found))
    end = max(state.event_count, found[-1].seq + 1 if found else 0)
    if end > after:
        found.append(
            EventRecord(end, EventKind(state.status), state.of_attempt, {}, state.ended_at)
        )
    return Page(found, state, ended=True)


def _number(record: EventRecord) -> int:
    return record.seq


def _stored(row: Any) -> EventRecord:
    return EventRecord(row.seq, EventKind(row.kind), row.attempt, row.data, row.shown_at)


def _queued(state: Any) -> EventRecord:
    data = {"session_id": str(state.session_id), "trace_id": state.trace_id}
    return EventRecord(1, EventKind.QUEUED, 0, data, state.created_at)


def _claimed(rows: Sequence[Any], place: int) -> EventRecord:
    """Make the event of an attempt's claim, with the outcome of the attempt before."""
    row = rows[place]
    data = {"previous_outcome": rows[place - 1].outcome if place else None}
    return EventRecord(row.event, EventKind.CLAIMED, row.number, data, row.started_at)


def _counted(given: CTE) -> Executable:
    current = and_(
        Message.id == given.c.message_id, Message.attempt == given.c.attempt, is_in_progress()
    )
    # in the order of the messages' ids, as everyone locks them who locks several
    locked = select(Message.id, given.c.event_count).join(given, current).order_by(Message.id)
    passed = locked.with_for_update(of=Message, key_share=True).cte("passed")
    counted = update(Message).where(Message.id == passed.c.id)
    return counted.values(event_count=passed.c.event_count).returning(Message.id)


def _pages(given: CTE) -> Executable:
    state = _states(given).cte("state").prefix_with("MATERIALIZED")
    # a range, not a number of rows: so they can be read for many at once
    next_ones = and_(
        Event.message_id == state.c.id,
        Event.seq > state.c.after,
        Event.seq <= state.c.after + bindparam("most", type_=Integer()),
    )
    columns = (Event.seq, Event.kind, Event.attempt, Event.data, Event.created_at.label("shown_at"))
    return select(state, *columns).outerjoin(Event, next_ones).order_by(Event.seq)


def _states(given: CTE) -> Select[Any]:
    """Read the messages that are asked about, with their newest attempts."""
    newest = and_(Attempt.message_id == Message.id, Attempt.number == Message.attempt)
    return (
        select(
            Message.id,
            given.c.after,
            Message.status,
            Message.attempt.label("of_attempt"),
            Message.event_count,
            Message.session_id,
            Message.trace_id,
            Message.created_at,
            Message.ended_at,
            Attempt.number,
            Attempt.event,
            Attempt.started_at,
            *estimates.estimate_columns(given.c.after == 0),
        )
        .join(given, given.c.message_id == Message.id)
        .outerjoin(Attempt, newest)
    )


_COUNT = CompiledRows((Event.message_id, Event.attempt, Message.event_count), _counted)
_NOTHING = (UUID(int=0), 0)
_ROOMS = (1, 4, 16, 64)
_INSERT = insert_rows(Event, insert_new)
_PAGES = CompiledRows((Event.message_id, column("after", Integer())), _pages)
_ATTEMPTS = CompiledStatement(
    select(Attempt.number, Attempt.event, Attempt.started_at, Attempt.outcome)
    .where(Attempt.message_id == bindparam("of_message"))
    .order_by(Attempt.number)
)
