"""The three commits of a message's life: accepted, claimed, done.

Each is one transaction: one statement of PostgreSQL in the usual case (shared/store/usual.py), else
several. SQLite takes several always: there nothing travels.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from shared.database import CommitUnknownError, Database, retried
from shared.settings import Settings
from shared.statements import Db
from shared.store import claims, transitions, usual
from shared.store.accept import Accepted, Draft
from shared.store.accept import accept as accept_draft
from shared.store.types import Call, Claim, Ended, Outcome

T = TypeVar("T")


@retried
async def accept(
    database: Database, session_id: UUID, draft: Draft, *, owner: str, settings: Settings
) -> Accepted:
    """Store a message as the last of its session: commit 1; raise as `accept.accept` does.

    The draft's id tells whether a commit happened whose acknowledgement was lost.
    """
    accepted = await _at_once(
        database, lambda db: usual.accept(db, session_id, draft, owner=owner, settings=settings)
    )
    if accepted is not None:
        return accepted
    try:
        return await _accept(database, session_id, draft, owner, settings)
    except CommitUnknownError:
        return await _accept(database, session_id, draft, owner, settings)


async def _accept(
    database: Database, session_id: UUID, draft: Draft, owner: str, settings: Settings
) -> Accepted:
    async with database.begin() as db:
        return await accept_draft(db, session_id, draft, owner=owner, settings=settings)


@retried
async def claim(
    database: Database, message_id: UUID, *, worker_id: UUID, settings: Settings
) -> Claim | Ended | None:
    """Take a message for a worker, if it may: commit 2; answer as `claims.claim` does."""
    claimed = await _at_once(database, lambda db: usual.claim(db, message_id, worker_id=worker_id))
    if claimed is not None:
        return claimed
    async with database.begin() as db:
        return await claims.claim(
            db,
            message_id,
            worker_id=worker_id,
            max_lost=settings.max_lost,
            run_limit_s=settings.run_limit_s,
            limit=settings.project_concurrency,
        )


@retried
async def complete(
    database: Database,
    claimed: Claim,
    outcome: Outcome,
    calls: Sequence[Call],
    *,
    limit: int,
    **told: Any,
) -> Ended:
    """Make what an attempt made visible: commit 3; raise as `transitions.complete` does."""
    ended = None
    if not outcome.diff:  # a change of the code takes the project's lock first
        ended = await _at_once(
            database, lambda db: usual.complete(db, claimed, outcome, calls, **told)
        )
    if ended is not None:
        return ended
    async with database.begin() as db:
        return await transitions.complete(db, claimed, outcome, calls, limit=limit, **told)


async def _at_once(database: Database, step: Callable[[Db], Awaitable[T | None]]) -> T | None:
    """Take a step in one statement; None: nothing was done, or it has to be found out what."""
    if database.dialect == "sqlite":
        return None
    with suppress(CommitUnknownError, IntegrityError):
        async with database.single() as db:
            return await step(db)
    return None
