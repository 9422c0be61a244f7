"""The session files of every host: equal to the database's items, or healed when next opened."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shared.database import Database
from shared.settings import Settings
from shared.tables import VibeSession
from tests.faults.invariants import Record
from tests.shared.world import claim_of
from worker.memory.file import files_in
from worker.memory.session import Memories


def stale_files(record: Record, folders: Sequence[Path]) -> list[Path]:
    """List the files of current conversations that are not as the database says."""
    stale = []
    for folder in folders:
        for session_id, generation in files_in(folder):
            session = record.sessions.get(session_id)
            path = folder / f"{session_id}.{generation}.db"
            if session and session.generation == generation:
                expected = [item.item for item in record.items_of(session_id, generation)]
                if stored_items(path, session.openai_session_key) != expected:
                    stale.append(path)
    return stale


def stored_items(path: Path, key: str) -> list[Any] | None:
    """Read a file as the Agents SDK lays it out; None: it is unreadable."""
    query = "SELECT message_data FROM agent_messages WHERE session_id = ? ORDER BY id"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as file:
            return [json.loads(row[0]) for row in file.execute(query, (key,))]
    except (sqlite3.Error, ValueError):
        return None


def wrong_memories(record: Record, database_url: str, folders: Sequence[Path]) -> list[str]:
    """Open every file as the next message would; list those that then differ from the items."""
    return asyncio.run(_wrong_memories(record, database_url, folders))


async def _wrong_memories(record: Record, database_url: str, folders: Sequence[Path]) -> list[str]:
    wrong = []
    for folder in folders:
        with TemporaryDirectory() as data:
            copied = Path(data, "sessions", "1")  # the worker itself has its folder locked
            if folder.exists():
                shutil.copytree(folder, copied)
            settings = Settings.model_validate(
                {"database_url": database_url, "redis_url": "redis://127.0.0.1:1/0"}
                if database_url.startswith("postgresql")
                else {"database_url": database_url, "data_dir": data}
            )
            database = Database(settings, name="invariants")
            memories = Memories(database, copied.parent)
            for session_id, generation in files_in(copied):
                session = record.sessions.get(session_id)
                if session and session.generation == generation:
                    wrong += await _wrong_memory(record, session, memories, copied)
            memories.close()
            await database.close()
    return wrong


async def _wrong_memory(
    record: Record, session: VibeSession, memories: Memories, folder: Path
) -> list[str]:
    expected = [item.item for item in record.items_of(session.id, session.generation)]
    memory = await memories.open(claim_of(session))
    path = folder / f"{session.id}.{session.generation}.db"
    # before its first message is answered a session has no file
    stored = stored_items(path, session.openai_session_key) if path.exists() else []
    if memory.history != expected or stored != expected:
        return [f"{path.name} does not heal: {memory.history}, {stored} != {expected}"]
    return []
