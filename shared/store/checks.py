"""Checks of sessions that somebody waits for."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from pydantic import TypeAdapter
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.checks import Check, Report
from shared.database import clock
from shared.statements import Db, Prepared
from shared.store.among import is_among

_REPORT = TypeAdapter(Report)


async def order(db: AsyncSession, session_id: UUID, *, trace_id: str) -> UUID:
    """Ask for a look at a session; return the check's id."""
    check_id = uuid4()
    await db.execute(insert(Check).values(id=check_id, session_id=session_id, trace_id=trace_id))
    return check_id


async def get(db: AsyncSession, check_id: UUID) -> Check | None:
    """Read a check; None: nobody waits for it any more."""
    return await db.get(Check, check_id)


async def answer(db: AsyncSession, check_id: UUID, report: Report) -> None:
    """Store what was found; tolerates that nobody waits for it any more."""
    stored: dict[str, Any] = _REPORT.dump_python(report, mode="json")
    await db.execute(update(Check).where(Check.id == check_id).values(report=stored))


async def take(db: AsyncSession, check_id: UUID) -> Report | None:
    """Read the report of a check, if there is one, and forget the check."""
    report = await db.scalar(delete(Check).where(Check.id == check_id).returning(Check.report))
    return None if report is None else _REPORT.validate_python(report)


async def answered_among(db: Db, check_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Name those of the checks that have a report."""
    return [row.id for row in await _ANSWERED.all(db, {"ids": check_ids})]


_ANSWERED = Prepared(
    lambda dialect: select(Check.id).where(
        is_among(Check.id, "ids", dialect), Check.report.is_not(None)
    )
)


async def purge(db: AsyncSession, *, ordered_before_s: float) -> None:
    """Forget checks that nobody took: whoever waited for them died."""
    await db.execute(
        delete(Check)
        .where(Check.created_at < clock() - ordered_before_s)
        .execution_options(synchronize_session=False)
    )
