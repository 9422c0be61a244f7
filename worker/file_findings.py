"""What can be wrong with this host's memory file of a session, against the session's items."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.checks import Finding
from shared.store.checks import SessionSnapshot
from shared.tables import Item, VibeSession
from worker.memory.file import MemoryFile
from worker.memory.file_handle import Contents
from worker.memory.files import MemoryFiles


@dataclass(frozen=True)
class FileSeen:
    """What a look at the file gave: its contents, or why not, or that there is none."""

    contents: Contents | None = None
    items: Sequence[Any] = ()
    fault: Finding | None = None


async def see(memories: MemoryFiles, session: VibeSession) -> FileSeen:
    """Read the file, if there is one; nothing is changed."""
    try:
        found = await memories.use(session, MemoryFile.read)
    except TimeoutError:
        return FileSeen(
            fault=Finding(
                "memory_file_locked",
                "The memory file is locked all the time, so messages here work on a copy in RAM.",
                "Look on the host for the process that holds the lock.",
                repairable=False,
            )
        )
    except (sqlite3.Error, OSError, ValueError) as error:
        why = type(error).__name__ if isinstance(error, OSError) else error
        return FileSeen(fault=_wrong("unreadable", f"cannot be read: {why}."))
    return FileSeen(*found) if found else FileSeen()


def findings_of(seen: FileSeen, rows: SessionSnapshot) -> tuple[str, list[Finding]]:
    """Tell the file's state and what is wrong with it; a true shorter beginning is not wrong."""
    if seen.fault:
        return "wrong", [seen.fault]
    if seen.contents is None:
        return "none", []
    findings = [*_of_items(seen.items, rows.items), *_of_note(seen.contents, rows)]
    if findings:
        return "wrong", findings
    return ("current" if len(seen.items) == len(rows.items) else "behind"), []


def _of_items(stored: Sequence[Any], items: Sequence[Item]) -> list[Finding]:
    for position, (own, item) in enumerate(zip(stored, items, strict=False)):
        if own != item.item:
            return [_wrong("item_differs", f"has another item than the database at {position}.")]
    if len(stored) > len(items):
        return [_wrong("too_long", f"holds {len(stored)} items, the database {len(items)}.")]
    return []


def _of_note(contents: Contents, rows: SessionSnapshot) -> list[Finding]:
    """Compare whose items came last: a beginning ends where the items of a message end."""
    writers = [item.message_id for item in rows.items]
    count = contents.count
    last: UUID | None = writers[count - 1] if 0 < count <= len(writers) else None
    cut = 0 < count < len(writers) and writers[count] == last
    if count > len(writers) or (contents.applied == last and not cut):
        return []
    if cut and contents.applied in writers:
        return [_wrong("cut", f"ends after {count} items, in the middle of message {last}.")]
    return [_wrong("note_wrong", f"names message {contents.applied} as its last, not {last}.")]


def _wrong(code: str, text: str) -> Finding:
    return Finding(f"memory_file_{code}", f"The memory file {text}")
