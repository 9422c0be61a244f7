"""Looking at a session on request: are its rows and this host's memory file whole, and mend them.

The client of another process waits for the report, which goes through the database like all else.
"""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import cast
from uuid import UUID

from agents import TResponseInputItem
from structlog.contextvars import bound_contextvars

from shared.checks import Check, Finding, Report
from shared.database import DatabaseAway, retried
from shared.errors import SessionBusy
from shared.logging import get_logger
from shared.store import checks
from shared.store.checks import SessionSnapshot
from shared.tables import VibeSession
from worker import file_findings, findings
from worker.memory.file import MemoryFile
from worker.parts import Parts

_log = get_logger(__name__)


async def check_session(check_id: UUID, *, parts: Parts) -> None:
    """Compare a session's rows and this host's memory file, and report what is wrong."""
    await _answer(check_id, parts, _look)


async def repair_session(check_id: UUID, *, parts: Parts) -> None:
    """Mend a session's rows and this host's memory file, and report what was and is wrong."""
    await _answer(check_id, parts, _repair)


async def _answer(
    check_id: UUID, parts: Parts, make: Callable[[UUID, Parts], Awaitable[Report | None]]
) -> None:
    try:
        check = await _get(check_id, parts)
        if check is None:
            return  # whoever asked has gone
        with bound_contextvars(trace_id=check.trace_id, session_id=str(check.session_id)):
            report = await make(check.session_id, parts)
            if report is not None:
                _tell(report)
                await parts.database.write(checks.answer, check_id, report)
                await parts.announcer.announce_check(check_id)
    except DatabaseAway:
        _log.info("check dropped, the database is away", check_id=str(check_id))


def _tell(report: Report) -> None:
    if report.mended:
        _log.info("session repaired", mended=[finding.code for finding in report.mended])
    if report.findings:
        _log.warning("session is not whole", findings=[one.code for one in report.findings])


async def _look(session_id: UUID, parts: Parts) -> Report | None:
    while True:
        session = await _session(session_id, parts)
        if session is None:
            return None
        # the file first: it never holds what the database has not yet
        seen = await file_findings.see(parts.memories, session)
        found = await _rows(session_id, parts)
        if found and found.session.generation == session.generation:
            break
    state, of_file = file_findings.findings_of(seen, found)
    return Report(
        host=socket.gethostname(),
        worker_id=parts.worker_id,
        generation=found.session.generation,
        items=len(found.items),
        messages=len(found.messages),
        memory_file=state,
        memory_file_items=seen.contents.count if seen.contents else None,
        findings=[*findings.findings_of(found), *of_file],
    )


async def _repair(session_id: UUID, parts: Parts) -> Report | None:
    before = await _look(session_id, parts)
    if before is None:
        return None
    try:
        await parts.database.write(checks.repair, session_id)
    except SessionBusy:
        return replace(before, busy=True)
    if before.memory_file == "wrong" or before.findings:
        await _rebuild_file(session_id, parts)
    after = await _look(session_id, parts)
    if after is None:
        return None
    left = {_key(finding) for finding in after.findings}
    mended = [finding for finding in before.findings if _key(finding) not in left]
    return replace(after, mended=mended)


def _key(finding: Finding) -> tuple[str, UUID | None]:
    return finding.code, finding.message_id


async def _rebuild_file(session_id: UUID, parts: Parts) -> None:
    """Build the file from the rows; one that is behind by then is still a true beginning."""
    found = await _rows(session_id, parts)
    if found is None:
        return
    items = [cast(TResponseInputItem, item.item) for item in found.items]
    build = partial(MemoryFile.replace, items=items, applied=found.session.last_message_id)
    try:
        await parts.memories.use(found.session, build)
    except OSError as error:  # the next look says what is wrong with it
        _log.warning("memory file cannot be built anew", error=repr(error))


@retried
async def _get(check_id: UUID, parts: Parts) -> Check | None:
    async with parts.database.read() as db:
        return await checks.get(db, check_id)


@retried
async def _session(session_id: UUID, parts: Parts) -> VibeSession | None:
    async with parts.database.read() as db:
        return await db.get(VibeSession, session_id)


@retried
async def _rows(session_id: UUID, parts: Parts) -> SessionSnapshot | None:
    async with parts.database.snapshot() as db:
        return await checks.snapshot(db, session_id)
