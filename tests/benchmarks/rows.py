"""What the benchmark writes into our database itself, where sending it would take hours."""

from collections.abc import Mapping, Sequence
from hashlib import md5
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import insert, update

from shared.dialects import sync_engine
from shared.settings import Settings
from shared.tables import Item, VibeSession


def insert_history(
    settings: Mapping[str, str], sessions: Sequence[str], items: Sequence[dict[str, Any]]
) -> None:
    """Give empty sessions a history, as if one message had left it behind."""
    engine = sync_engine(settings_of(settings), name="benchmark")
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


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings that a service with this environment has."""
    prefix = "VIBECODER_"
    given: dict[str, Any] = {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix)
    }
    return Settings(**given)


_FILL = (
    # the keys are known to fit: to check them takes longer than to write the rows
    "SET session_replication_role = replica",
    "SET synchronous_commit = off",
    """INSERT INTO projects (id, owner, name, instructions, code, revision, created_at, updated_at)
       SELECT md5('project' || n)::uuid, 'nobody', 'p', '', 'pass', 0, 0, 0
       FROM generate_series(0, %(messages)s::int / 1000) n""",
    """INSERT INTO sessions (id, project_id, openai_session_key, generation, next_seq, item_count,
                             created_at)
       SELECT md5('session' || n)::uuid, md5('project' || n / 10)::uuid, 'filled' || n, 1, 101,
              200, 0
       FROM generate_series(0, %(messages)s::int / 100) n""",
    """INSERT INTO messages (id, session_id, project_id, generation, seq, content, model, status,
                             attempt, lost_count, conflict_count, worker_id, created_at, queued_at,
                             claimed_at, ended_at, request_hash, trace_id, reply, diff, usage)
       SELECT md5('message' || n)::uuid, md5('session' || n / 100)::uuid,
              md5('project' || n / 1000)::uuid, 1, n %% 100 + 1, repeat('What does it do? ', 5),
              'gpt', %(status)s::text, 1, 0, 0, md5('worker')::uuid, at, at, at,
              CASE WHEN %(status)s::text = 'completed' THEN at END, repeat('0', 64),
              'trace_' || md5('trace' || n), repeat('It sorts out what a customer wants. ', 5), '',
              '{"requests": 1, "input_tokens": 800, "output_tokens": 40}'
       FROM generate_series(0, %(messages)s::int - 1) n,
            LATERAL (SELECT extract(epoch FROM now()) - n AS at) times""",
    """INSERT INTO attempts (message_id, number, worker_id, started_at, ended_at, outcome)
       SELECT id, 1, worker_id, claimed_at, ended_at, 'completed' FROM messages
       WHERE status = 'completed'""",
    """INSERT INTO model_calls (message_id, attempt, n, model, usage, started_at, ended_at)
       SELECT id, 1, 1, model, usage, claimed_at, ended_at FROM messages
       WHERE status = 'completed'""",
    """INSERT INTO items (session_id, generation, position, message_id, item)
       SELECT session_id, 1, 2 * (seq - 1) + k, id,
              json_build_object('role', 'user', 'content', repeat(content, 2))
       FROM messages, generate_series(0, 1) k WHERE status = 'completed'""",
)


def fill(url: str, *, messages: int, status: str = "completed") -> None:
    """Fill an empty PostgreSQL database: 100 messages a session, ten sessions a project.

    What an ended message leaves behind is there too, but for its full response. The last project
    and session (`filled_id`) stay empty.
    """
    values = {"messages": messages, "status": status}
    with psycopg.connect(url, autocommit=True) as db:
        for statement in _FILL:
            db.execute(statement.encode(), values if "%(" in statement else None)
        # or PostgreSQL does it in the middle of what is measured next
        db.execute("VACUUM (ANALYZE)")
        db.execute("CHECKPOINT")


def filled_id(name: str) -> UUID:
    """Return the id of a filled-in row, as the statements above make it."""
    return UUID(md5(name.encode(), usedforsecurity=False).hexdigest())
