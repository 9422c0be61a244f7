"""What happens to a message while it is answered, numbered without gaps.

Number 1 is that it was queued (`messages`), each claim has a number (`attempts.event`), what a run
reports are rows of `events`, and the end has the last number (`messages.event_count`). So a message
that nobody watches costs no row; who reads puts them together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Uuid, and_, bindparam, column, select, update, values
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import insert_new
from shared.prepared import Prepared
from shared.store.states import is_running, is_unfinished
from shared.tables import UNFINISHED, Attempt, Event, EventKind, Message


@dataclass(frozen=True)
class RunEvent:
    """What a run reports, under the number that it will have; `created_at` in s since 1970."""

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
class Told:
    """An event as it is told: the end and being queued have no row, so only their number."""

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

    events: Sequence[Told]
    state: Any = None
    ended: bool = False
    more: bool = False


async def append(db: AsyncSession, batches: Sequence[Batch]) -> None:
    """Store what attempts report while they run; nothing of one that is no longer its message's.

    An attempt's numbers are its own from its claim on, so this tolerates a repetition. In the
    order of the messages' ids, as everyone who locks several of them.
    """
    fences = [
        {"of_message": batch.message_id, "of_attempt": batch.attempt, "last": batch.last}
        for batch in sorted(batches, key=lambda batch: batch.message_id)
    ]
    passed = {counted.id for fence in fences for counted in await _COUNT.all(db, fence)}
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
    await _INSERT.each(db, rows)


async def want(db: AsyncSession, message_id: UUID) -> bool:
    """Note that somebody watches an unfinished message; False: that is known, or it ended."""
    unknown = (Message.id == message_id) & ~Message.streamed & is_unfinished()
    core = await db.connection()
    return (await core.execute(update(Message).where(unknown).values(streamed=True))).rowcount > 0


async def wanted_of(db: AsyncSession, worker_id: UUID) -> Sequence[UUID]:
    """Name the messages that run at a worker and are watched."""
    here = (Message.worker_id == worker_id) & is_running() & Message.streamed
    return (await db.scalars(select(Message.id).where(here))).all()


async def counts(db: AsyncSession, message_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Count the events of messages."""
    query = select(Message.id, Message.event_count).where(Message.id.in_(message_ids))
    return {row.id: row.event_count for row in await db.execute(query)}


async def pages(
    db: AsyncSession, asked: Collection[tuple[UUID, int]], *, limit: int
) -> Sequence[Page]:
    """Read what follows an event of each message, up to `limit` numbers further.

    One statement for up to 64 of them, and one for each attempt that began since, each end and
    each place asked about for the first time; the pages are in the order of the question.
    """
    found: dict[tuple[UUID, int], list[Any]] = {place: [] for place in asked}
    places = list(found)
    for first in range(0, len(places), _AT_ONCE):
        for row in await _rows(db, places[first : first + _AT_ONCE], limit):
            found[row.id, row.after].append(row)
    return [await _page(db, place, rows, limit) for place, rows in found.items()]


async def _rows(db: AsyncSession, asked: Sequence[tuple[UUID, int]], limit: int) -> Sequence[Any]:
    room = next(size for size in _SIZES if size >= len(asked))
    filled = [*asked, *[_NOTHING] * (room - len(asked))]
    given: dict[str, Any] = {"most": limit}
    for number, (message_id, after) in enumerate(filled):
        given |= {f"message{number}": message_id, f"after{number}": after}
    return await _PAGES[room].all(db, given)


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
        known = await _ATTEMPTS.all(db, {"of_message": message_id})
        begun = [_claimed(known, place) for place in range(len(known))]
        found += [told for told in begun if after < told.seq <= min(until, state.event_count)]
        found.sort(key=_number)
    if not ended:  # read in two steps: what came meanwhile may leave a gap
        found = [told for number, told in enumerate(found, after + 1) if told.seq == number]
    if more or not ended:
        return Page(found, state, more=more and bool(found))
    end = max(state.event_count, found[-1].seq + 1 if found else 0)
    if end > after:
        found.append(Told(end, EventKind(state.status), state.of_attempt, {}, state.ended_at))
    return Page(found, state, ended=True)


def _number(told: Told) -> int:
    return told.seq


def _stored(row: Any) -> Told:
    return Told(row.seq, EventKind(row.kind), row.attempt, row.data, row.told_at)


def _queued(state: Any) -> Told:
    data = {"session_id": str(state.session_id), "trace_id": state.trace_id}
    return Told(1, EventKind.QUEUED, 0, data, state.created_at)


def _claimed(rows: Sequence[Any], place: int) -> Told:
    """Tell of an attempt's beginning, and what became of the one before."""
    row = rows[place]
    data = {"previous_outcome": rows[place - 1].outcome if place else None}
    # 0, which nobody asks for: a process of the version before began it
    return Told(row.event or 0, EventKind.CLAIMED, row.number, data, row.started_at)


# built once: to build a statement takes longer than to run it
_CURRENT = and_(
    Message.id == bindparam("of_message"),
    Message.attempt == bindparam("of_attempt"),
    is_running(),
)
_COUNT = Prepared(
    update(Message)
    .where(_CURRENT)
    .values(event_count=bindparam("last", type_=Integer()))
    .returning(Message.id)
)
_INSERT = Prepared(partial(insert_new, Event))
_NOTHING = (UUID(int=0), 0)
_SIZES = (1, 4, 16, 64)
_AT_ONCE = _SIZES[-1]


def _pages(size: int) -> Prepared:
    asked = values(column("message_id", Uuid()), column("after", Integer()), name="asked").data(
        [
            (bindparam(f"message{n}", type_=Uuid()), bindparam(f"after{n}", type_=Integer()))
            for n in range(size)
        ]
    )
    of = asked.cte("asked")
    # a range, not a number of rows: so they can be read for many at once
    next_ones = and_(
        Event.message_id == of.c.message_id,
        Event.seq > of.c.after,
        Event.seq <= of.c.after + bindparam("most", type_=Integer()),
    )
    return Prepared(
        select(
            Message.id,
            of.c.after,
            Message.status,
            Message.attempt.label("of_attempt"),
            Message.event_count,
            Message.session_id,
            Message.seq.label("place"),
            Message.trace_id,
            Message.created_at,
            Message.queued_at,
            Message.ended_at,
            Event.seq,
            Event.kind,
            Event.attempt,
            Event.data,
            Event.created_at.label("told_at"),
        )
        .join(of, of.c.message_id == Message.id)
        .outerjoin(Event, next_ones)
        .order_by(Event.seq)
    )


_PAGES = {size: _pages(size) for size in _SIZES}
_ATTEMPTS = Prepared(
    select(Attempt.number, Attempt.event, Attempt.started_at, Attempt.outcome)
    .where(Attempt.message_id == bindparam("of_message"))
    .order_by(Attempt.number)
)
