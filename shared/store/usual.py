"""The usual way of a message: each of its three transactions as one statement of PostgreSQL.

A statement does all or, when anything is unusual, nothing: then acceptance.py, claims.py and
transitions.py decide. In one statement every part sees the same moment, and only a row that had to
be waited for is seen as it is now. So what is asked of other rows is either true for ever once it
is true, or a change of it changes the session's row, too.
"""

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    Integer,
    String,
    Uuid,
    bindparam,
    column,
    text,
    update,
)

from shared.settings import Settings
from shared.statements import Db, Prepared, is_fenced, together
from shared.store.accept import Accepted, Draft, columns_of
from shared.store.events import Batch
from shared.store.records import Spans, closing, storable, total
from shared.store.transitions import remembering
from shared.store.types import Call, Claim, Ended, Outcome, as_claim
from shared.tables import AttemptOutcome, Message, MessageStatus, VibeSession


async def accept(
    db: Db, session_id: UUID, draft: Draft, *, owner: str, settings: Settings
) -> Accepted | None:
    """Store a message in a session that has no other unfinished one, and mark it as hinted.

    None: the session is busy or unknown, the key is known, or something is full.
    """
    sent = columns_of(draft)
    place = {
        "session_id": session_id,
        "owner": owner,
        "project_limit": settings.project_queue_limit,
        "service_limit": settings.service_queue_limit,
        "cap": settings.project_concurrency,
    }
    made = await _ACCEPT.first(db, sent | place)
    if made is None:
        return None
    message = Message(**sent, **made._asdict(), session_id=session_id, status=MessageStatus.QUEUED)
    return Accepted(message, ended=Ended(heads=(draft.message_id,)))


async def claim(db: Db, message_id: UUID, *, worker_id: UUID) -> Claim | None:
    """Take a queued head for a worker; None: it is no head, or it has been claimed before."""
    taken = await _CLAIM.first(db, {"message_id": message_id, "worker_id": worker_id})
    return as_claim(taken) if taken else None


async def complete(
    db: Db,
    claim: Claim,
    outcome: Outcome,
    calls: Sequence[Call],
    *,
    told: Batch | None = None,
    spans: Spans = None,
) -> Ended | None:
    """Complete a message that changed no code.

    None: somebody waits behind it, a webhook wants to hear of it, or it is not this attempt's.
    """
    fence = {
        "message_id": claim.message_id,
        "attempt": claim.attempt,
        "session_id": claim.session_id,
        "project_id": claim.project_id,
        "item_count": claim.item_count,
        "reply": storable(outcome.reply),
        "usage": total(calls),
        "newest": told.last if told else None,
    }
    end = claim.item_count + len(outcome.items)
    remembers = {"of_session": claim.session_id, "last_message_id": claim.message_id}
    steps = [
        (_REMEMBER, remembers | {"item_count": end}),
        *remembering(claim, outcome, end=end),
        *closing(claim, AttemptOutcome.COMPLETED, calls, told, spans=spans),
    ]
    if not await together(db, steps, fence=(_COMPLETE, fence)):
        return None
    return Ended((claim.message_id,), codes=(None,))


def _typed(statement: str, **types: Any) -> Any:
    return text(cleandoc(statement)).bindparams(
        *(bindparam(name, type_=kind) for name, kind in types.items())
    )


# Who waited for the session's row finds another xmin, unless it was only locked: by who ends
# messages of it, which makes no message unfinished. Of a service that is full some may slip in.
_ACCEPT = Prepared(
    _typed(
        """
        WITH place AS (
            UPDATE sessions AS s SET next_seq = s.next_seq + 1
            FROM projects AS p
            WHERE s.id = :session_id
                AND s.xmin = (SELECT xmin FROM sessions WHERE id = :session_id)
                AND p.id = s.project_id AND p.owner = :owner AND p.deleted_at IS NULL
                AND NOT EXISTS (
                    SELECT 1 FROM messages
                    WHERE session_id = :session_id AND idempotency_key = :idempotency_key
                )
                AND NOT EXISTS (
                    SELECT 1 FROM messages
                    WHERE session_id = :session_id AND status IN ('queued', 'in_progress')
                )
                AND (
                    SELECT count(*) < :cap AND count(*) < :project_limit
                        AND bool_and(status = 'in_progress' OR hinted_at IS NOT NULL) IS NOT FALSE
                    FROM messages
                    WHERE project_id = p.id AND status IN ('queued', 'in_progress')
                )
                AND (
                    SELECT count(*) FROM messages WHERE status IN ('queued', 'in_progress')
                ) < :service_limit
            RETURNING s.project_id, s.generation, s.next_seq - 1 AS seq
        )
        INSERT INTO messages (
            id, session_id, project_id, generation, seq, content, model, status, attempt,
            lost_count, conflict_count, created_at, queued_at, hinted_at, idempotency_key,
            request_hash, trace_id, diff, event_count, streamed
        )
        SELECT
            :id, :session_id, project_id, generation, seq, :content, :model, 'queued', 0,
            0, 0, now.at, now.at, now.at, :idempotency_key,
            :request_hash, :trace_id, '', 1, :streamed
        FROM place, (SELECT extract(epoch FROM clock_timestamp()) AS at) AS now
        RETURNING project_id, generation, seq
        """,
        id=Uuid(),
        session_id=Uuid(),
        owner=String(),
        idempotency_key=String(),
        cap=Integer(),
        project_limit=Integer(),
        service_limit=Integer(),
        content=String(),
        model=String(),
        request_hash=String(),
        trace_id=String(),
    ).columns(column("project_id"), column("generation"), column("seq"))
)

# What was before it in its session has ended for ever; nobody but a claim makes it in progress.
_CLAIM = Prepared(
    _typed(
        """
        WITH place AS (
            SELECT * FROM sessions
            WHERE id = (SELECT session_id FROM messages WHERE id = :message_id)
            FOR NO KEY UPDATE
        ), taken AS (
            UPDATE messages AS m SET
                status = 'in_progress',
                attempt = m.attempt + 1,
                worker_id = :worker_id,
                hinted_at = NULL,
                claimed_at = extract(epoch FROM clock_timestamp()),
                event_count = m.event_count + 1
            FROM place
            WHERE m.id = :message_id AND m.status = 'queued' AND NOT EXISTS (
                SELECT 1 FROM messages AS earlier
                WHERE earlier.session_id = m.session_id AND earlier.seq < m.seq
                    AND earlier.status IN ('queued', 'in_progress')
            )
            RETURNING m.*, m.claimed_at - m.queued_at AS waited_s
        ), begun AS (
            INSERT INTO attempts (message_id, number, worker_id, started_at, event)
            SELECT id, attempt, worker_id, claimed_at, event_count FROM taken
        )
        SELECT
            m.id, m.attempt, m.session_id, m.project_id, p.owner, m.generation,
            place.openai_session_key, place.node_id, m.content, m.model, m.trace_id,
            p.instructions, p.code, p.revision, m.conflict_count, m.queued_at, m.claimed_at,
            place.item_count, place.last_message_id, m.event_count, m.streamed, m.waited_s,
            place.budget_tokens, place.budget_usd, p.budget_tokens, p.budget_usd
        FROM taken AS m, place, projects AS p
        WHERE p.id = m.project_id
        """,
        message_id=Uuid(),
        worker_id=Uuid(),
    ).columns(*(column(name) for name in Claim.__dataclass_fields__))
)

# Who is accepted behind it has changed the session's row by then, or waits for it.
_COMPLETE = Prepared(
    _typed(
        """
        WITH place AS (
            SELECT next_seq, item_count FROM sessions WHERE id = :session_id FOR NO KEY UPDATE
        )
        UPDATE messages AS m SET
            status = 'completed',
            reply = :reply,
            usage = :usage,
            ended_at = extract(epoch FROM clock_timestamp()),
            event_count = coalesce(:newest, m.event_count) + 1
        FROM place
        WHERE m.id = :message_id AND m.attempt = :attempt AND m.status = 'in_progress'
            AND place.next_seq = m.seq + 1 AND place.item_count = :item_count
            AND NOT EXISTS (SELECT 1 FROM webhooks WHERE project_id = :project_id)
            AND NOT EXISTS (
                SELECT 1 FROM messages
                WHERE project_id = :project_id AND status = 'queued' AND hinted_at IS NULL
            )
        RETURNING m.id
        """,
        message_id=Uuid(),
        session_id=Uuid(),
        project_id=Uuid(),
        attempt=Integer(),
        item_count=Integer(),
        newest=Integer(),
        reply=String(),
        usage=JSON(none_as_null=True),
    ).columns(column("id"))
)
_REMEMBER = Prepared(
    lambda dialect: update(VibeSession).where(
        VibeSession.id == bindparam("of_session"), is_fenced(dialect)
    )
)
