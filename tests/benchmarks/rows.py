"""What the benchmark writes into our database itself: a history, where 500 messages take long."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, update

from shared.database import sync_engine
from shared.settings import Settings
from shared.tables import Item, VibeSession


def insert_history(
    settings: Mapping[str, str], sessions: Sequence[str], items: Sequence[dict[str, Any]]
) -> None:
    """Give empty sessions a history, as if one message had left it behind."""
    engine = sync_engine(_settings(settings), name="benchmark")
    with engine.begin() as db:
        for session in sessions:
            message = uuid4()
            rows = [
                {
                    "session_id": UUID(session),
                    "generation": 1,
                    "position": position,
                    "message_id": message,
                    "item": item,
                }
                for position, item in enumerate(items)
            ]
            db.execute(insert(Item), rows)
            db.execute(
                update(VibeSession)
                .where(VibeSession.id == UUID(session))
                .values(item_count=len(items), last_message_id=message)
            )
    engine.dispose()


def _settings(environment: Mapping[str, str]) -> Settings:
    prefix = "VIBECODER_"
    given: dict[str, Any] = {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix)
    }
    return Settings(**given)
