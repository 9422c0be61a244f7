"""The claim of a message: this module alone decides which worker answers it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.statements import CompiledStatement
from shared.store import events
from shared.store.dispatch import is_in_progress, is_lost, is_next, is_queued
from shared.store.events import Batch
from shared.store.records import Spans, end_attempts, record_calls
from shared.store.transitions import end_lost, release
from shared.store.types import Call, Claim, Ended, LeaseLost
from shared.tables import Attempt, AttemptOutcome, Message, MessageStatus, Project, VibeSession


async def claim(
    db: AsyncSession,
    message_id: UUID,
    *,
    worker_id: UUID,
    max_lost: int,
    run_limit_s: float,
    limit: int,
) -> Claim | Ended | None:
    """Take a message for this worker if it is its session's next and free: commit 2.

    One whose worker's lease has run out is taken over with the next attempt, or failed as
    `worker_lost` if that happened too often: then the answer is what ended. None: the task message
    was late or doubled, or another worker has it.
    """
    place = await _LOCK_PLACE.first(db, {"of_message": message_id})
    if place is None:
        return None
    bounds = {"of_message": message_id, "run_limit_s": run_limit_s}
    taken = await _TAKE.first(db, bounds | {"max_lost": max_lost, "by_worker": worker_id})
    if taken is None:
        given_up = await _LOST.first(db, bounds)
        return await end_lost(db, given_up, limit=limit) if given_up else None
    was_lost = False
    if taken.attempt > 1:
        was_lost = bool(await end_attempts(db, (message_id,), AttemptOutcome.LOST))
    await _begin(db, taken)
    claimed = _as_claim(place, taken)
    return replace(claimed, waited_s=None) if was_lost else claimed


async def run_again(
    db: AsyncSession,
    claim: Claim,
    calls: Sequence[Call],
    *,
    pending_events: Batch | None = None,
    spans: Spans = None,
) -> Claim:
    """Begin the next attempt of this worker on the code as it is now, after a conflict.

    Raises:
        LeaseLost: the message ended or went to another attempt.
    """
    place = await _LOCK_PLACE.first(db, {"of_message": claim.message_id})
    fence = {"of_message": claim.message_id, "of_attempt": claim.attempt}
    last_event = pending_events.last if pending_events else None
    taken = await _TAKE_AGAIN.first(db, fence | {"last_event": last_event})
    if taken is None:
        raise LeaseLost
    await end_attempts(db, (claim.message_id,), AttemptOutcome.CONFLICT, spans=spans)
    await record_calls(db, (claim, calls))
    if pending_events:
        await events.insert(db, pending_events)
    await _begin(db, taken)
    return replace(_as_claim(place, taken), waited_s=0.0)  # it ran: it waited for no worker


async def release_orphaned(
    db: AsyncSession, message_id: UUID, attempt: int, *, limit: int
) -> Ended:
    """Release a message that the database believes to run here; tolerates that it just ended."""
    place = await _LOCK_PLACE.first(db, {"of_message": message_id})
    held = await _HELD.first(db, {"of_message": message_id, "of_attempt": attempt})
    if place is None or held is None:
        return Ended()
    return await release(db, _as_claim(place, held), (), limit=limit)


def _as_claim(place: Any, taken: Any) -> Claim:
    values = taken._asdict()
    del values["worker_id"]
    return Claim(**place._asdict(), **values)


async def _begin(db: AsyncSession, taken: Any) -> None:
    begun = {"message_id": taken.message_id, "number": taken.attempt, "event": taken.event_count}
    await _BEGIN.all(db, begun | {"worker_id": taken.worker_id})


_OF_MESSAGE = Message.id == bindparam("of_message")
_FENCE = (_OF_MESSAGE, Message.attempt == bindparam("of_attempt"), is_in_progress())
_RUN_LIMIT_S: ColumnElement[float] = bindparam("run_limit_s", type_=Double())
_CLAIMED = (
    Message.id.label("message_id"),
    Message.attempt,
    Message.generation,
    Message.content.label("prompt"),
    Message.model,
    Message.trace_id,
    Message.conflict_count,
    Message.queued_at,
    Message.claimed_at,
    Message.event_count,
    Message.streamed,
    Message.worker_id,
    (Message.claimed_at - Message.queued_at).label("waited_s"),
)
"""The columns of the message in a claim, by the names of its fields."""
_LOCK_PLACE = CompiledStatement(
    select(
        VibeSession.id.label("session_id"),
        VibeSession.project_id,
        VibeSession.openai_session_key,
        VibeSession.node_id,
        VibeSession.item_count,
        VibeSession.last_message_id,
        VibeSession.budget_tokens.label("session_budget_tokens"),
        VibeSession.budget_usd.label("session_budget_usd"),
        Project.owner,
        Project.instructions,
        Project.code,
        Project.revision,
        Project.budget_tokens.label("project_budget_tokens"),
        Project.budget_usd.label("project_budget_usd"),
    )
    .join(Project, Project.id == VibeSession.project_id)
    .where(VibeSession.id == select(Message.session_id).where(_OF_MESSAGE).scalar_subquery())
    .with_for_update(of=VibeSession, key_share=True)
)
"""Locks the session of a message, and reads the columns of session and project in a claim."""
_TAKE = CompiledStatement(
    update(Message)
    .where(
        _OF_MESSAGE,
        is_next(),
        or_(
            is_queued(),
            is_lost(_RUN_LIMIT_S)
            & (Message.lost_count + 1 < bindparam("max_lost", type_=Integer())),
        ),
    )
    .values(
        status=MessageStatus.IN_PROGRESS,
        attempt=Message.attempt + 1,
        lost_count=Message.lost_count + case((is_in_progress(), 1), else_=0),
        worker_id=bindparam("by_worker"),
        enqueued_at=None,
        claimed_at=clock(),
        event_count=Message.event_count + 1,
    )
    .returning(*_CLAIMED)
)
_TAKE_AGAIN = CompiledStatement(
    update(Message)
    .where(*_FENCE)
    .values(
        attempt=Message.attempt + 1,
        conflict_count=Message.conflict_count + 1,
        claimed_at=clock(),
        event_count=func.coalesce(bindparam("last_event", type_=Integer()), Message.event_count)
        + 1,
    )
    .returning(*_CLAIMED)
)
_HELD = CompiledStatement(select(*_CLAIMED).where(*_FENCE))
_LOST = CompiledStatement(
    select(Message.id, Message.project_id, Message.lost_count).where(
        _OF_MESSAGE, is_next(), is_lost(_RUN_LIMIT_S)
    )
)
_BEGIN = CompiledStatement(insert(Attempt))
