"""How a claimed message's state changes: complete, fail, release, run again.

Each verb is called with the transaction that the caller commits, and returns what the caller
must do after that commit. `attempt` is the fence: a verb that finishes an attempt changes
nothing once the message belongs to another attempt or has ended, and says so. `told` are the
attempt's events that are not stored yet: they come with its end, before the end's own number;
`spans` are all of its spans.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Integer, Uuid, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.errors import Failure, ProjectNotFound
from shared.statements import Prepared, Step, insert_rows, together
from shared.store import dispatch, outbox, projects, sessions
from shared.store.events import Batch
from shared.store.records import Spans, closing, storable, total
from shared.store.states import is_running
from shared.store.types import (
    CLAIMED,
    Call,
    Claim,
    CodeMoved,
    Ended,
    LeaseLost,
    Outcome,
    as_claim,
)
from shared.tables import (
    Attempt,
    AttemptOutcome,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    Project,
    VibeSession,
)

__all__ = ["Call", "Claim", "CodeMoved", "Ended", "LeaseLost", "Outcome"]


async def complete(
    db: AsyncSession,
    claim: Claim,
    outcome: Outcome,
    calls: Sequence[Call],
    *,
    limit: int,
    told: Batch | None = None,
    spans: Spans = None,
) -> Ended:
    """Make an attempt's reply, memory, code and full response visible: commit 3.

    Raises:
        CodeMoved: the code to change is no longer the one that the diff is against.
        LeaseLost: the message ended or went to another attempt; nothing may be kept.
    """
    project = await _lock_project(db, claim) if outcome.diff else None
    count = await _advance(db, claim, len(outcome.items))  # locks the session
    # the fence first: after a commit whose acknowledgement was lost the code has moved, by us
    ended = await _end_message(
        db,
        claim,
        told,
        status=MessageStatus.COMPLETED,
        reply=storable(outcome.reply),
        diff=outcome.diff,
        revision=outcome.base_revision + 1 if project else None,
        usage=total(calls),
    )
    if project:
        if project.revision != outcome.base_revision:
            raise CodeMoved(project.code, project.revision)
        await projects.revise(
            db, project, code=outcome.code, diff=outcome.diff, message_id=claim.message_id
        )
    closed = closing(claim, AttemptOutcome.COMPLETED, calls, told, spans=spans)
    await together(db, [*remembering(claim, outcome, end=count), *closed])
    ready = await dispatch.take_hints(db, claim.project_id, limit=limit) if ended.heads_wait else ()
    return Ended((claim.message_id,), ready, codes=(None,), outbox=ended.outbox)


async def ended_as(db: AsyncSession, claim: Claim) -> AttemptOutcome | None:
    """Tell how this very attempt ended, for one that lost the acknowledgement of its commit."""
    attempt = await db.get(Attempt, (claim.message_id, claim.attempt))
    return AttemptOutcome(attempt.outcome) if attempt and attempt.outcome else None


async def fail(
    db: AsyncSession,
    claim: Claim,
    failure: Failure,
    calls: Sequence[Call],
    *,
    limit: int,
    told: Batch | None = None,
    spans: Spans = None,
) -> Ended:
    """End an attempt's message without a reply; the conversation and the code stay as they were.

    Raises:
        LeaseLost: as for `complete`.
    """
    await sessions.lock(db, claim.session_id)
    error = failure.to_json()
    values = {"status": MessageStatus.FAILED, "error": error, "usage": total(calls)}
    ended = await _end_message(db, claim, told, **values)
    await together(db, closing(claim, AttemptOutcome.FAILED, calls, told, spans=spans, error=error))
    ready = await dispatch.take_hints(db, claim.project_id, limit=limit)
    return Ended((claim.message_id,), ready, codes=(failure.code,), outbox=ended.outbox)


async def release(
    db: AsyncSession,
    claim: Claim,
    calls: Sequence[Call],
    *,
    limit: int,
    told: Batch | None = None,
    spans: Spans = None,
) -> Ended:
    """Give a message back to the queue, unharmed: its worker stops, or does not know it.

    Raises:
        LeaseLost: as for `complete`.
    """
    await sessions.lock(db, claim.session_id)
    await _fenced_update(
        db,
        claim,
        status=MessageStatus.QUEUED,
        worker_id=None,
        hinted_at=None,
        queued_at=clock(),
        event_count=_newest(told),
    )
    await together(db, closing(claim, AttemptOutcome.RELEASED, calls, told, spans=spans))
    return Ended(heads=await dispatch.take_hints(db, claim.project_id, limit=limit))


async def run_again(
    db: AsyncSession,
    claim: Claim,
    calls: Sequence[Call],
    *,
    told: Batch | None = None,
    spans: Spans = None,
) -> Claim:
    """Begin the next attempt of this worker on the code as it is now, after a conflict.

    Raises:
        LeaseLost: as for `complete`.
    """
    await sessions.lock(db, claim.session_id)
    await _fenced_update(
        db,
        claim,
        attempt=claim.attempt + 1,
        conflict_count=claim.conflict_count + 1,
        claimed_at=clock(),
        event_count=_newest(told) + 1,
    )
    await together(db, closing(claim, AttemptOutcome.CONFLICT, calls, told, spans=spans))
    begun = insert(Attempt).from_select(
        ["message_id", "number", "worker_id", "event"],
        select(Message.id, Message.attempt, Message.worker_id, Message.event_count).where(
            Message.id == claim.message_id
        ),
    )
    await db.execute(begun)
    again = as_claim((await db.execute(CLAIMED.where(Message.id == claim.message_id))).one())
    return replace(again, waited_s=0.0)  # it ran: nobody waited for a worker


async def _lock_project(db: AsyncSession, claim: Claim) -> Project:
    try:
        return await projects.lock(db, claim.project_id)
    except ProjectNotFound as error:
        raise LeaseLost from error


async def _advance(db: AsyncSession, claim: Claim, items: int) -> int:
    of_claim = {"of_session": claim.session_id, "last_message_id": claim.message_id}
    session = await _ADVANCE.first(db, of_claim | {"more": items})
    assert session is not None, "a message has a session"
    count: int = session.item_count
    return count


async def _end_message(db: AsyncSession, claim: Claim, told: Batch | None, **values: Any) -> Any:
    """End the message, if it is this attempt's; tell whether a head waits, and an outbox row."""
    fence = {
        "of_message": claim.message_id,
        "of_attempt": claim.attempt,
        "of_project": claim.project_id,
        "newest": told.last if told else None,
    }
    ended = await _END.first(db, fence | values)
    if ended is None:
        raise LeaseLost
    if ended.outbox:
        await outbox.write(db, [claim.message_id])
    return ended


async def _fenced_update(db: AsyncSession, claim: Claim, **values: Any) -> None:
    fence = {"of_message": claim.message_id, "of_attempt": claim.attempt}
    core = await db.connection()
    if (await core.execute(_FENCED.values(**values), fence)).rowcount == 0:
        raise LeaseLost


def remembering(claim: Claim, outcome: Outcome, *, end: int) -> list[Step]:
    """Store what the model remembers of it, up to so many items, and its full response."""
    rows = [
        {
            "session_id": claim.session_id,
            "generation": claim.generation,
            "position": position,
            "message_id": claim.message_id,
            "item": item,
        }
        for position, item in enumerate(outcome.items, end - len(outcome.items))
    ]
    response = {
        "message_id": claim.message_id,
        "responses": outcome.responses,
        "tool_calls": outcome.tool_calls,
    }
    return [*_ADD_ITEMS.steps(rows), *_ADD_RESPONSE.steps([response])]


def _newest(told: Batch | None) -> Any:
    return told.last if told else Message.event_count


# built once: to build a statement takes longer than to run it
_FENCED = update(Message).where(
    Message.id == bindparam("of_message"), Message.attempt == bindparam("of_attempt"), is_running()
)
_END = Prepared(
    _FENCED.values(
        ended_at=clock(),
        event_count=func.coalesce(bindparam("newest", type_=Integer()), Message.event_count) + 1,
    ).returning(
        dispatch.heads_wait(bindparam("of_project", type_=Uuid())).label("heads_wait"),
        outbox.is_wanted(bindparam("of_project", type_=Uuid())).label("outbox"),
    )
)
_ADVANCE = Prepared(
    update(VibeSession)
    .where(VibeSession.id == bindparam("of_session"))
    .values(item_count=VibeSession.item_count + bindparam("more", type_=Integer()))
    .returning(VibeSession.item_count)
)
_ADD_ITEMS = insert_rows(Item, lambda table, _: insert(table))
_ADD_RESPONSE = insert_rows(MessageResponse, lambda table, _: insert(table))
