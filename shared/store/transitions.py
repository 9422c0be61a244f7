"""How a claimed message's state changes: complete, fail, release, run again.

Each verb is called with the transaction that the caller commits, and returns what the caller
must do after that commit. `attempt` is the fence: a verb that finishes an attempt changes
nothing once the message belongs to another attempt or has ended, and says so.
"""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock, insert_new
from shared.errors import Failure, ProjectNotFound
from shared.store import heads, projects, sessions
from shared.store.attempts import Call, Claim, CodeMoved, Ended, LeaseLost, Outcome, as_claim
from shared.store.states import is_running
from shared.tables import (
    Attempt,
    AttemptOutcome,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    ModelCall,
    Project,
    VibeSession,
)

__all__ = ["Call", "Claim", "CodeMoved", "Ended", "LeaseLost", "Outcome", "as_claim"]

_REFUSED = re.compile("[\\x00\\ud800-\\udfff]")


async def complete(
    db: AsyncSession, claim: Claim, outcome: Outcome, calls: Sequence[Call], *, limit: int
) -> Ended:
    """Make an attempt's reply, memory, code and full response visible: commit 3.

    Raises:
        CodeMoved: the code to change is no longer the one that the diff is against.
        LeaseLost: the message ended or went to another attempt; nothing may be kept.
    """
    project = await _lock_project(db, claim) if outcome.diff else None
    # the fence first: after a commit whose acknowledgement was lost the code has moved, by us
    await _finish(
        db,
        claim,
        status=MessageStatus.COMPLETED,
        reply=_storable(outcome.reply),
        diff=outcome.diff,
        revision=outcome.base_revision + 1 if project else None,
        usage=_total(calls),
    )
    if project:
        if project.revision != outcome.base_revision:
            raise CodeMoved(project.code, project.revision)
        await projects.revise(
            db, project, code=outcome.code, diff=outcome.diff, message_id=claim.message_id
        )
    await _remember(db, claim, outcome.items)
    await db.execute(
        insert(MessageResponse).values(
            message_id=claim.message_id,
            responses=outcome.responses,
            tool_calls=outcome.tool_calls,
        )
    )
    return await _settle(db, claim, AttemptOutcome.COMPLETED, calls, limit=limit)


async def ended_as(db: AsyncSession, claim: Claim) -> AttemptOutcome | None:
    """Tell how this very attempt ended, for one that lost the acknowledgement of its commit."""
    attempt = await db.get(Attempt, (claim.message_id, claim.attempt))
    return AttemptOutcome(attempt.outcome) if attempt and attempt.outcome else None


async def fail(
    db: AsyncSession, claim: Claim, failure: Failure, calls: Sequence[Call], *, limit: int
) -> Ended:
    """End an attempt's message without a reply; the conversation and the code stay as they were.

    Raises:
        LeaseLost: as for `complete`.
    """
    await _finish(
        db, claim, status=MessageStatus.FAILED, error=failure.to_json(), usage=_total(calls)
    )
    return await _settle(
        db, claim, AttemptOutcome.FAILED, calls, limit=limit, error=failure.to_json()
    )


async def release(db: AsyncSession, claim: Claim, calls: Sequence[Call], *, limit: int) -> Ended:
    """Give a message back to the queue, unharmed: its worker stops, or does not know it.

    Raises:
        LeaseLost: as for `complete`.
    """
    await sessions.lock(db, claim.session_id)
    await _fenced_update(
        db, claim, status=MessageStatus.QUEUED, worker_id=None, hinted_at=None, queued_at=clock()
    )
    ended = await _settle(db, claim, AttemptOutcome.RELEASED, calls, limit=limit)
    return Ended(heads=ended.heads)


async def run_again(db: AsyncSession, claim: Claim, calls: Sequence[Call]) -> Claim:
    """Begin the next attempt of this worker on the code as it is now, after a conflict.

    Raises:
        LeaseLost: as for `complete`.
    """
    session = await sessions.lock(db, claim.session_id)
    await _fenced_update(
        db,
        claim,
        attempt=claim.attempt + 1,
        conflict_count=claim.conflict_count + 1,
        claimed_at=clock(),
    )
    await close_attempt(db, claim.message_id, claim.attempt, AttemptOutcome.CONFLICT)
    await record_calls(db, claim.message_id, claim.attempt, calls)
    message = await db.get_one(Message, claim.message_id)
    project = await db.get_one(Project, claim.project_id)
    assert session is not None
    assert message.worker_id is not None
    await db.execute(
        insert(Attempt).values(
            message_id=message.id, number=message.attempt, worker_id=message.worker_id
        )
    )
    return as_claim(message, session, project)


async def record_calls(
    db: AsyncSession, message_id: UUID, attempt: int, calls: Sequence[Call]
) -> None:
    """Record what was tried, also for an attempt that came to nothing; tolerates a repetition."""
    if calls:
        rows = [
            {
                "message_id": message_id,
                "attempt": attempt,
                "n": call.number,
                "model": _storable(call.model)[:200],
                "usage": call.usage,
                "error": call.error,
                "started_at": call.started_at,
                "ended_at": call.ended_at,
            }
            for call in calls
        ]
        await db.execute(insert_new(db, ModelCall), rows)


async def _lock_project(db: AsyncSession, claim: Claim) -> Project:
    try:
        return await projects.lock(db, claim.project_id)
    except ProjectNotFound as error:
        raise LeaseLost from error


async def _finish(db: AsyncSession, claim: Claim, **values: Any) -> None:
    await sessions.lock(db, claim.session_id)
    await _fenced_update(db, claim, ended_at=clock(), **values)


async def _fenced_update(db: AsyncSession, claim: Claim, **values: Any) -> None:
    result = await db.execute(
        update(Message)
        .where(
            Message.id == claim.message_id,
            Message.attempt == claim.attempt,
            is_running(),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(result, CursorResult)
    if result.rowcount == 0:
        raise LeaseLost


async def _remember(db: AsyncSession, claim: Claim, items: Sequence[dict[str, Any]]) -> None:
    count = await db.scalar(
        update(VibeSession)
        .where(VibeSession.id == claim.session_id)
        .values(item_count=VibeSession.item_count + len(items), last_message_id=claim.message_id)
        .returning(VibeSession.item_count)
        .execution_options(synchronize_session=False)
    )
    assert count is not None
    rows = [
        {
            "session_id": claim.session_id,
            "generation": claim.generation,
            "position": count - len(items) + offset,
            "message_id": claim.message_id,
            "item": item,
        }
        for offset, item in enumerate(items)
    ]
    if rows:
        await db.execute(insert(Item), rows)


async def _settle(
    db: AsyncSession,
    claim: Claim,
    outcome: AttemptOutcome,
    calls: Sequence[Call],
    *,
    limit: int,
    error: dict[str, Any] | None = None,
) -> Ended:
    await close_attempt(db, claim.message_id, claim.attempt, outcome, error)
    await record_calls(db, claim.message_id, claim.attempt, calls)
    ready = await heads.take_hints(db, claim.project_id, limit=limit)
    return Ended(ids=(claim.message_id,), heads=ready)


async def close_attempt(
    db: AsyncSession,
    message_id: UUID,
    number: int,
    outcome: AttemptOutcome,
    error: dict[str, Any] | None = None,
) -> None:
    await db.execute(
        update(Attempt)
        .where(Attempt.message_id == message_id, Attempt.number == number)
        .values(ended_at=clock(), outcome=outcome, error=error)
        .execution_options(synchronize_session=False)
    )


async def end(db: AsyncSession, message: Message, status: MessageStatus, failure: Failure) -> None:
    if message.status == MessageStatus.IN_PROGRESS and status is MessageStatus.CANCELLED:
        await close_attempt(db, message.id, message.attempt, AttemptOutcome.CANCELLED)
    message.status = status
    message.error = failure.to_json()
    message.ended_at = await db.scalar(select(clock()))
    await db.flush()


def _total(calls: Sequence[Call]) -> dict[str, Any]:
    """Sum the numbers of the calls' usage, nested ones too."""
    total: dict[str, Any] = {}
    for call in calls:
        _add(total, call.usage or {})
    return total


def _add(total: dict[str, Any], usage: dict[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        elif isinstance(value, int | float):
            total[name] = total.get(name, 0) + value


def _storable(text: str) -> str:
    """Replace what PostgreSQL's text refuses: NUL and lone surrogates."""
    return _REFUSED.sub("\ufffd", text)
