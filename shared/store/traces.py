"""What became of messages, step by step: their attempts with the spans of their runs.

An attempt's spans are one value of its row, so that they end with the statement that ends the
attempt. Each is an object: `span_id`, `parent_id`, `kind` (the Agents SDK's name for it), `name`,
`started_at` and `ended_at` in seconds of the database's clock, and what else is known of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Select, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only, undefer

from shared.dialects import clock
from shared.errors import MessageNotFound, TraceNotFound
from shared.tables import Attempt, Message, Project


@dataclass(frozen=True)
class Spans:
    """All spans of an attempt, as far as it has come."""

    message_id: UUID
    attempt: int
    spans: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class TracedMessage:
    """A message and its attempts with their spans; `now` is the database's time of the reading."""

    message: Message
    attempts: Sequence[Attempt]
    now: float


async def keep(db: AsyncSession, runs: Sequence[Spans], *, ended: bool = False) -> None:
    """Store the spans of attempts that run; `ended`: of one that another ended, too.

    What an attempt's end has stored stays: it came after what is stored here. In the order of the
    messages' ids, as everyone who locks several rows.
    """
    rows = [
        {"of_message": run.message_id, "of_number": run.attempt, "known": run.spans}
        for run in sorted(runs, key=lambda run: run.message_id)
    ]
    core = await db.connection()
    await core.execute(_KEEP if ended else _KEEP_RUNNING, rows)


async def of_message(db: AsyncSession, message_id: UUID, *, owner: str) -> TracedMessage:
    """Read the trace of one message of that owner."""
    found = await _traced(db, _owned(owner).where(Message.id == message_id))
    if not found:
        raise MessageNotFound(f"There is no message {message_id}.")
    return found[0]


async def of_trace(
    db: AsyncSession, trace_id: str, *, owner: str, after: Message | None, limit: int
) -> Sequence[TracedMessage]:
    """Read the messages of a trace, oldest first; a client may send many with one trace id."""
    query = _owned(owner).where(Message.trace_id == trace_id)
    if after is not None:
        later = (Message.created_at > after.created_at) | (
            (Message.created_at == after.created_at) & (Message.id > after.id)
        )
        query = query.where(later)
    found = await _traced(db, query.order_by(Message.created_at, Message.id).limit(limit))
    if not found and after is None:
        raise TraceNotFound(f"There is no message with the trace id {trace_id}.")
    return found


async def _traced(db: AsyncSession, query: Select[Message, float]) -> Sequence[TracedMessage]:
    rows = (await db.execute(query)).all()
    ids = [message.id for message, _ in rows]
    tries = await db.scalars(
        select(Attempt)
        .options(undefer(Attempt.spans))
        .where(Attempt.message_id.in_(ids))
        .order_by(Attempt.number)
    )
    by_message: dict[UUID, list[Attempt]] = {message_id: [] for message_id in ids}
    for attempt in tries:
        by_message[attempt.message_id].append(attempt)
    return [TracedMessage(message, by_message[message.id], now) for message, now in rows]


def _owned(owner: str) -> Select[Message, float]:
    # without prompts, replies and diffs
    brief = load_only(
        Message.session_id,
        Message.project_id,
        Message.model,
        Message.status,
        Message.created_at,
        Message.ended_at,
        Message.trace_id,
        Message.error,
        Message.usage,
    )
    return (
        select(Message, clock())
        .options(brief)
        .join(Project, Project.id == Message.project_id)
        .where(Project.owner == owner, Project.deleted_at.is_(None))
    )


# built once: to build a statement takes longer than to run it
_KEEP = (
    update(Attempt)
    .where(Attempt.message_id == bindparam("of_message"), Attempt.number == bindparam("of_number"))
    .values(spans=bindparam("known", type_=JSON()))
)
_KEEP_RUNNING = _KEEP.where(Attempt.ended_at.is_(None))
