"""Messages put straight into a database, thousands of them, and what the broker heard of them."""

from uuid import uuid4

import psycopg
import redis

from shared.workflow.text import EMPTY_WORKFLOW
from tests.faults.cluster import Cluster

_PROJECTS = """
INSERT INTO projects (id, owner, name, instructions, code, revision, created_at, updated_at)
SELECT gen_random_uuid(), 'anonymous', %(mark)s, '', %(code)s, 1, 0, 0
FROM generate_series(1, %(projects)s)
"""
_REVISIONS = """
INSERT INTO revisions (project_id, number, code, diff, created_at)
SELECT id, 1, code, '', 0 FROM projects WHERE name = %(mark)s
"""
_SESSIONS = """
INSERT INTO sessions (id, project_id, openai_session_key, generation, next_seq, item_count,
    created_at)
SELECT gen_random_uuid(), id, 'project_' || id || '.' || number, 1, %(messages)s + 1, 0, number
FROM projects, generate_series(1, %(sessions)s) AS number WHERE name = %(mark)s
"""
_MESSAGES = """
INSERT INTO messages (id, session_id, project_id, generation, seq, content, model, status,
    attempt, lost_count, conflict_count, queued_at, request_hash, trace_id, diff, created_at)
SELECT gen_random_uuid(), sessions.id, project_id, 1, seq,
    'prompt ' || seq || ' ' || %(directives)s, %(model)s, 'queued', 0, 0, 0,
    extract(epoch FROM clock_timestamp()), '', 'trace_' || md5(sessions.id::text || seq), '',
    extract(epoch FROM clock_timestamp())
FROM sessions JOIN projects ON projects.id = project_id, generate_series(1, %(messages)s) AS seq
WHERE name = %(mark)s
"""


def fill(
    cluster: Cluster,
    *,
    projects: int,
    sessions: int,
    messages: int,
    directives: str = "",
    model: str = "stub",
) -> list[str]:
    """Queue so many messages in each of so many sessions of so many projects; return sessions."""
    values = {
        "mark": f"backlog-{uuid4().hex}",
        "code": EMPTY_WORKFLOW,
        "projects": projects,
        "sessions": sessions,
        "messages": messages,
        "directives": directives,
        "model": model,
    }
    with psycopg.connect(cluster.database_url) as db:
        for statement in (_PROJECTS, _REVISIONS, _SESSIONS, _MESSAGES):
            db.execute(statement.encode(), values)
        found = db.execute(
            "SELECT sessions.id FROM sessions JOIN projects ON projects.id = project_id "
            "WHERE name = %(mark)s",
            values,
        ).fetchall()
    return [str(row[0]) for row in found]


def count(cluster: Cluster, where: str, table: str = "messages") -> int:
    """Count rows."""
    with psycopg.connect(cluster.database_url) as db:
        row = db.execute(f"SELECT count(*) FROM {table} WHERE {where}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def hints_sent(redis_url: str) -> int:
    """Count what was ever put into a Redis' lists: a hint each."""
    with redis.Redis.from_url(redis_url) as broker:
        commands = broker.info("commandstats")
    return int(commands.get("cmdstat_lpush", {"calls": 0})["calls"])
