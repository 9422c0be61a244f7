"""The transitions of a message: complete, fail, release, cancel, withdraw, expire.

The caller of a verb commits its transaction and then does the work that the returned `Ended` names.
A verb of a worker names its attempt, which is the fence: it changes nothing once the message
belongs to another attempt or has ended, and raises `LeaseLost`. `pending_events` are the attempt's
events that are not stored yet: they come with its end, before the end's own number; `spans` are all
of its spans.

Every end of a message is a call of `finish`.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Select,
    Uuid,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.errors import Failure, FailureCode, MessageNotQueued, ProjectNotFound
from shared.statements import CompiledStatement, Values, insert_rows
from shared.store import deliveries, dispatch, events, projects, sessions
from shared.store.dispatch import is_in_progress, is_queued, is_unfinished
from shared.store.events import Batch
from shared.store.records import Spans, end_attempts, record_calls, storable, total
from shared.store.types import Call, Claim, Ended, LeaseLost, Outcome, Overdue, RevisionConflict
from shared.tables import (
    Attempt,
    AttemptOutcome,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    Project,
    VibeSession,
    Worker,
)

__all__ = ["Call", "Claim", "Ended", "LeaseLost", "Outcome", "RevisionConflict"]

CANCELLED = Failure(
    FailureCode.CANCELLED, "The message was cancelled before it was answered.", retryable=False
)
EXPIRED = Failure(
    FailureCode.EXPIRED,
    "No worker had time for the message within the limit. Send it again later with a new key.",
    retryable=True,
)
WITHDRAWN = Failure(
    FailureCode.WITHDRAWN, "The message was withdrawn before a worker began it.", retryable=False
)


def lost(count: int) -> Failure:
    """Describe the failure of a message whose workers died `count` times."""
    return Failure(
        FailureCode.WORKER_LOST,
        f"The worker that ran the message was lost ({count} times). Send it again with a new key.",
        retryable=True,
    )


def _ending(*where: ColumnElement[bool]) -> CompiledStatement:
    """Make the statement that ends messages; `finish` gives it the values."""
    of_project = bindparam("of_project", type_=Uuid())
    last_event = func.coalesce(bindparam("last_event", type_=Integer()), Message.event_count)
    ended = update(Message).where(*where).values(ended_at=clock(), event_count=last_event + 1)
    return CompiledStatement(
        ended.returning(
            Message.seq,
            Message.id,
            dispatch.next_waits(of_project).label("next_waits"),
            deliveries.has_webhooks(of_project).label("has_webhooks"),
        )
    )


_OF_MESSAGE = Message.id == bindparam("of_message")
_FENCE = (_OF_MESSAGE, Message.attempt == bindparam("of_attempt"), is_in_progress())
_END_ATTEMPT = _ending(*_FENCE)
_END_MESSAGE = _ending(_OF_MESSAGE, is_unfinished())
_END_SESSION = _ending(Message.session_id == bindparam("of_session"), is_unfinished())
_END_PROJECT = _ending(Message.project_id == bindparam("of_project"), is_unfinished())


async def finish(
    db: AsyncSession,
    ending: CompiledStatement,
    where: Values,
    *,
    project_id: UUID,
    limit: int,
    outcome: AttemptOutcome,
    failure: Failure | None = None,
    spans: Spans = None,
    last_event: int | None = None,
    **values: Any,
) -> Ended:
    """End messages of locked sessions, with their open attempts; name them in their order.

    It writes the deliveries of webhooks and marks the next messages as enqueued.
    """
    error = failure.to_json() if failure else None
    given = where | values | {"of_project": project_id, "last_event": last_event, "error": error}
    ended = sorted(await ending.all(db, given))
    if not ended:
        return Ended()
    ids = tuple(message.id for message in ended)
    of_attempt = error if outcome is AttemptOutcome.FAILED else None
    open_ones = await end_attempts(db, ids, outcome, error=of_attempt, spans=spans)
    if ended[0].has_webhooks:
        await deliveries.write(db, ids)
    ready: tuple[UUID, ...] = ()
    if ended[0].next_waits:
        ready = await dispatch.mark_enqueued(db, project_id, limit=limit)
    return Ended(
        ids,
        ready,
        stopped=open_ones if outcome is AttemptOutcome.CANCELLED else (),
        codes=(failure.code if failure else None,) * len(ids),
        has_outbox=bool(ended[0].has_webhooks),
    )


async def complete(
    db: AsyncSession,
    claim: Claim,
    outcome: Outcome,
    calls: Sequence[Call],
    *,
    limit: int,
    pending_events: Batch | None = None,
    spans: Spans = None,
) -> Ended:
    """Make an attempt's reply, memory, code and full response visible: commit 3.

    Raises:
        RevisionConflict: the code to change is no longer the one that the diff is against.
        LeaseLost: the message ended or went to another attempt; nothing may be kept.
    """
    project = await _lock_project(db, claim) if outcome.diff else None
    end = await _advance(db, claim, len(outcome.items))  # locks the session
    # the fence first: after a commit whose acknowledgement was lost the code has moved, by us
    ended = await _finish_attempt(
        db,
        claim,
        pending_events,
        limit=limit,
        outcome=AttemptOutcome.COMPLETED,
        spans=spans,
        status=MessageStatus.COMPLETED,
        reply=storable(outcome.reply),
        diff=outcome.diff,
        revision=outcome.base_revision + 1 if project else None,
        usage=total(calls),
    )
    if project:
        if project.revision != outcome.base_revision:
            raise RevisionConflict(project.code, project.revision)
        await projects.revise(
            db, project, code=outcome.code, diff=outcome.diff, message_id=claim.message_id
        )
    await _add_items(db, claim, outcome.items, start=end - len(outcome.items))
    response = {"responses": outcome.responses, "tool_calls": outcome.tool_calls}
    await _ADD_RESPONSE.all(db, response | {"message_id": claim.message_id})
    await _record(db, claim, calls, pending_events)
    return ended


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
    pending_events: Batch | None = None,
    spans: Spans = None,
) -> Ended:
    """End an attempt's message without a reply; the conversation and the code stay as they were.

    Raises:
        LeaseLost: as for `complete`.
    """
    await lock_session(db, claim.session_id)
    ended = await _finish_attempt(
        db,
        claim,
        pending_events,
        limit=limit,
        outcome=AttemptOutcome.FAILED,
        failure=failure,
        spans=spans,
        status=MessageStatus.FAILED,
        usage=total(calls),
    )
    await _record(db, claim, calls, pending_events)
    return ended


async def release(
    db: AsyncSession,
    claim: Claim,
    calls: Sequence[Call],
    *,
    limit: int,
    pending_events: Batch | None = None,
    spans: Spans = None,
) -> Ended:
    """Give a message back to the queue, unharmed: its worker stops, or does not know it.

    Raises:
        LeaseLost: as for `complete`.
    """
    await lock_session(db, claim.session_id)
    last_event = pending_events.last if pending_events else None
    if await _RELEASE.first(db, _fence(claim) | {"last_event": last_event}) is None:
        raise LeaseLost
    await end_attempts(db, (claim.message_id,), AttemptOutcome.RELEASED, spans=spans)
    await _record(db, claim, calls, pending_events)
    ready = await dispatch.mark_enqueued(db, claim.project_id, limit=limit)
    return Ended(ready=ready)


async def cancel(db: AsyncSession, message: Message, *, limit: int) -> Ended:
    """End a message that has not ended, queued or running; tolerates that it just did."""
    await lock_session(db, message.session_id)
    ended = await _cancel(
        db, _END_MESSAGE, {"of_message": message.id}, project_id=message.project_id, limit=limit
    )
    await db.refresh(message)
    return ended


async def cancel_session(
    db: AsyncSession, session_id: UUID, *, project_id: UUID, limit: int
) -> Ended:
    """End every unfinished message of a locked session."""
    return await _cancel(
        db, _END_SESSION, {"of_session": session_id}, project_id=project_id, limit=limit
    )


async def clear_session(db: AsyncSession, session_id: UUID, *, limit: int) -> Ended:
    """End the unfinished messages and begin a new generation of the conversation."""
    session = await sessions.lock(db, session_id)
    if session is None:
        return Ended()
    ended = await cancel_session(db, session.id, project_id=session.project_id, limit=limit)
    await sessions.start_generation(db, session)
    return ended


async def delete_project(db: AsyncSession, project: Project, *, limit: int) -> Ended:
    """Hide a locked project with all that is below it, and end its unfinished messages."""
    await projects.mark_deleted(db, project)
    await sessions.lock_all(db, project.id)
    return await _cancel(db, _END_PROJECT, {}, project_id=project.id, limit=limit)


async def change(db: AsyncSession, message: Message, *, prompt: str, request_hash: str) -> None:
    """Give a queued message another prompt.

    Raises:
        MessageNotQueued: a worker has it, or it has ended.
    """
    await _require_queued(db, message)
    message.content = prompt
    message.request_hash = request_hash
    await db.flush()


async def withdraw(db: AsyncSession, message: Message, *, limit: int) -> Ended:
    """End a queued message; its row stays.

    Raises:
        MessageNotQueued: a worker has it, or it has ended.
    """
    await _require_queued(db, message)
    ended = await _cancel(
        db,
        _END_MESSAGE,
        {"of_message": message.id},
        failure=WITHDRAWN,
        project_id=message.project_id,
        limit=limit,
    )
    await db.refresh(message)
    return ended


async def overdue(db: AsyncSession, *, queue_timeout_s: float, limit: int) -> Sequence[Overdue]:
    """List messages that waited for a worker, or for news of theirs, longer than they may."""
    found = await _OVERDUE.all(db, {"queue_timeout_s": queue_timeout_s, "most": limit})
    return [Overdue(message.id, message.session_id) for message in found]


async def expire(
    db: AsyncSession, message: Overdue, *, queue_timeout_s: float, limit: int
) -> Ended:
    """Fail an overdue message; tolerates that it was claimed or released in the meantime."""
    await lock_session(db, message.session_id)
    still = {"of_message": message.id, "queue_timeout_s": queue_timeout_s}
    found = await _STILL_OVERDUE.first(db, still)
    if found is None:
        return Ended()
    if found.status == MessageStatus.IN_PROGRESS:
        return await end_lost(db, found, limit=limit)
    return await finish(
        db,
        _END_MESSAGE,
        {"of_message": found.id},
        project_id=found.project_id,
        limit=limit,
        outcome=AttemptOutcome.LOST,
        failure=EXPIRED,
        status=MessageStatus.FAILED,
    )


async def end_lost(db: AsyncSession, message: Any, *, limit: int) -> Ended:
    """Fail a message of a locked session whose worker was lost once more.

    `message` has its `id`, its `project_id` and the `lost_count` so far.
    """
    count = message.lost_count + 1
    return await finish(
        db,
        _END_MESSAGE,
        {"of_message": message.id},
        project_id=message.project_id,
        limit=limit,
        outcome=AttemptOutcome.LOST,
        failure=lost(count),
        status=MessageStatus.FAILED,
        lost_count=count,
    )


async def lock_session(db: AsyncSession, session_id: UUID) -> None:
    """Lock a session against every other transition of its messages until the commit."""
    await _LOCK_SESSION.all(db, {"of_session": session_id})


async def _finish_attempt(
    db: AsyncSession, claim: Claim, pending_events: Batch | None, **values: Any
) -> Ended:
    ended = await finish(
        db,
        _END_ATTEMPT,
        _fence(claim),
        project_id=claim.project_id,
        last_event=pending_events.last if pending_events else None,
        **values,
    )
    if not ended.ids:
        raise LeaseLost
    return ended


async def _cancel(
    db: AsyncSession,
    ending: CompiledStatement,
    where: Values,
    *,
    project_id: UUID,
    limit: int,
    failure: Failure = CANCELLED,
) -> Ended:
    return await finish(
        db,
        ending,
        where,
        project_id=project_id,
        limit=limit,
        outcome=AttemptOutcome.CANCELLED,
        failure=failure,
        status=MessageStatus.CANCELLED,
    )


def _fence(claim: Claim) -> Values:
    return {"of_message": claim.message_id, "of_attempt": claim.attempt}


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


async def _add_items(
    db: AsyncSession, claim: Claim, items: Sequence[dict[str, Any]], *, start: int
) -> None:
    rows = [
        {
            "session_id": claim.session_id,
            "generation": claim.generation,
            "position": position,
            "message_id": claim.message_id,
            "item": item,
        }
        for position, item in enumerate(items, start)
    ]
    await _ADD_ITEMS.all(db, rows)


async def _record(
    db: AsyncSession, claim: Claim, calls: Sequence[Call], pending_events: Batch | None
) -> None:
    await record_calls(db, (claim, calls))
    if pending_events:
        await events.insert(db, pending_events)


async def _require_queued(db: AsyncSession, message: Message) -> None:
    await lock_session(db, message.session_id)
    await db.refresh(message)
    if message.status != MessageStatus.QUEUED:
        raise MessageNotQueued(
            f"The message is {message.status}; only one that is queued can be changed or "
            "withdrawn. POST /messages/{id}/cancel stops one that runs.",
            message_id=str(message.id),
        )


def _overdue() -> Select[UUID, UUID, UUID, str, int]:
    limit_s: ColumnElement[float] = bindparam("queue_timeout_s", type_=Double())
    waited = is_queued() & (Message.queued_at < clock() - limit_s)
    orphaned = is_in_progress() & (
        func.coalesce(Worker.lease_expires_at, Message.claimed_at) < clock() - limit_s
    )
    return (
        select(
            Message.id,
            Message.session_id,
            Message.project_id,
            Message.status,
            Message.lost_count,
        )
        .outerjoin(Worker, Worker.id == Message.worker_id)
        .where(is_unfinished(), or_(waited, orphaned))
    )


_LOCK_SESSION = CompiledStatement(
    select(VibeSession.id)
    .where(VibeSession.id == bindparam("of_session"))
    .with_for_update(key_share=True)
)
_RELEASE = CompiledStatement(
    update(Message)
    .where(*_FENCE)
    .values(
        status=MessageStatus.QUEUED,
        worker_id=None,
        enqueued_at=None,
        queued_at=clock(),
        event_count=func.coalesce(bindparam("last_event", type_=Integer()), Message.event_count),
    )
    .returning(Message.id)
)
_OVERDUE = CompiledStatement(
    _overdue().order_by(Message.session_id, Message.seq).limit(bindparam("most", type_=Integer()))
)
_STILL_OVERDUE = CompiledStatement(_overdue().where(_OF_MESSAGE))
_ADVANCE = CompiledStatement(
    update(VibeSession)
    .where(VibeSession.id == bindparam("of_session"))
    .values(item_count=VibeSession.item_count + bindparam("more", type_=Integer()))
    .returning(VibeSession.item_count)
)
_ADD_ITEMS = insert_rows(Item, insert)
_ADD_RESPONSE = CompiledStatement(insert(MessageResponse))
