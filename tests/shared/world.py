"""Short words for what tests do with the store; each call is one committed transaction."""

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, insert, select, update

from shared.database import Database
from shared.dialects import clock
from shared.errors import Failure, FailureCode
from shared.schema import migrate
from shared.settings import Settings
from shared.store import claims, dispatch, messages, projects, sessions, transitions, webhooks
from shared.store.accept import Accepted, NewMessage, OnBusy, UnfinishedCount, accept
from shared.store.transitions import Claim, Ended, Outcome
from shared.tables import (
    Attempt,
    Delivery,
    Item,
    Message,
    MessageStatus,
    Project,
    VibeSession,
    Webhook,
    Worker,
)
from shared.workflow.checker import CodeChecker
from shared.workflow.text import EMPTY_WORKFLOW, unified_diff

OWNER = "anna"
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.services)
ON_POSTGRESQL = pytest.mark.parametrize("settings", [POSTGRESQL], indirect=True)
"""For what cannot happen on SQLite, where one transaction writes at a time."""
ON_SQLITE = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
"""For what does not depend on the database."""
ON_BOTH = pytest.mark.parametrize("settings", ["sqlite", POSTGRESQL], indirect=True)
"""For a worker's tests of what SQL decides; without it they run on SQLite."""
ENDS = ("completed", "failed", "cancelled")
BOOM = Failure(FailureCode.MODEL_ERROR, "It broke.", retryable=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a SQLite file with the newest schema."""
    folder = tmp_path_factory.mktemp("template")
    migrate(Settings(data_dir=folder))
    return (folder / "vibecoder.db").read_bytes()


@pytest.fixture(params=["sqlite", POSTGRESQL])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Give the settings of a fresh database of either kind."""
    return settings_of(request.param, request, tmp_path)


def settings_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_database")
        return Settings(database_url=url, redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path)
    return sqlite_settings(tmp_path, request.getfixturevalue("sqlite_template"))


def sqlite_settings(folder: Path, template: bytes) -> Settings:
    (folder / "vibecoder.db").write_bytes(template)
    return Settings(data_dir=folder)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Give a fresh database with the newest schema, SQLite or PostgreSQL."""
    database = Database(settings, name="test")
    yield database
    await database.close()


@pytest.fixture
async def world(database: Database, settings: Settings) -> AsyncIterator["World"]:
    """Give the store's verbs on a fresh database."""
    world = World(database, settings)
    with world.exits:
        yield world
    await world.checker.aclose()


@dataclass(frozen=True)
class Spent:
    """A call of the model."""

    number: int = 1
    model: str = "scripted"
    usage: dict[str, Any] | None = None
    error: str | None = None
    started_at: float = 1.0
    ended_at: float = 2.0


def draft(prompt: str = "hi", *, key: str | None = None, on_busy: str = "enqueue") -> NewMessage:
    return NewMessage(
        prompt=prompt,
        model="offline",
        on_busy=OnBusy(on_busy),
        idempotency_key=key,
        request_hash=f"{prompt} {on_busy}",
        trace_id="trace_" + "0" * 32,
    )


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def outcome(
    claim: Claim, *, items: Sequence[dict[str, Any]] | None = None, code: str | None = None
) -> Outcome:
    """Make what a run gave; with `code`, a change of the project's code."""
    new = claim.code if code is None else code
    return Outcome(
        reply=f"reply to {claim.prompt}",
        base_revision=claim.revision,
        code=new,
        diff=unified_diff(claim.code, new),
        items=said(claim.prompt, f"reply to {claim.prompt}") if items is None else items,
        responses=[{"id": str(claim.message_id)}],
        tool_calls=[],
    )


def claim_of(session: VibeSession) -> Claim:
    """Make a claim of a session's next message without asking the database."""
    return Claim(
        message_id=uuid4(),
        attempt=1,
        session_id=session.id,
        project_id=session.project_id,
        owner="nobody",
        generation=session.generation,
        openai_session_key=session.openai_session_key,
        node_id=None,
        prompt="",
        model="offline",
        trace_id="",
        instructions="",
        code="",
        revision=1,
        conflict_count=0,
        queued_at=0,
        claimed_at=0,
        item_count=session.item_count,
        last_message_id=session.last_message_id,
        event_count=2,
        streamed=False,
        waited_s=0.0,
    )


class World:
    """A database with projects, sessions, messages and workers in it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.exits = ExitStack()
        self.checker = CodeChecker()

    @property
    def cap(self) -> int:
        return self.settings.project_concurrency

    def limit(self, **changes: Any) -> None:
        """Change settings from here on."""
        self.settings = self.settings.model_copy(update=changes)

    async def project(self, code: str = EMPTY_WORKFLOW) -> Project:
        async with self.database.begin() as db:
            return await projects.create(db, owner=OWNER, name="p", instructions="", code=code)

    async def session(
        self, project: Project | None = None, *, node_id: str | None = None, new: bool = True
    ) -> VibeSession:
        """Open a further conversation of the project, or of one of its own."""
        project = project or await self.project()
        async with self.database.begin() as db:
            made, _ = await sessions.ensure(
                db, project_id=project.id, node_id=node_id, new=new, title=None
            )
            return made

    async def worker(self, *, lease_s: float = 60, slots: int = 10) -> UUID:
        """Register a worker; a negative lease is over already."""
        worker_id = uuid4()
        async with self.database.begin() as db:
            await db.execute(
                insert(Worker).values(
                    id=worker_id,
                    host="h",
                    pid=1,
                    version="0",
                    slots=slots,
                    lease_expires_at=clock() + lease_s,
                )
            )
        return worker_id

    async def renew(self, worker_id: UUID, *, lease_s: float) -> None:
        """Let a worker's lease end so many seconds from now; negative: it is over."""
        await self.change(Worker, worker_id, lease_expires_at=clock() + lease_s)

    async def accept(self, session: VibeSession, prompt: str = "hi", **options: Any) -> Accepted:
        return await self.accept_draft(session.id, draft(prompt, **options))

    async def accept_draft(
        self, session_id: UUID, sent: NewMessage, *, owner: str = OWNER
    ) -> Accepted:
        return await self.database.write(
            accept,
            session_id,
            sent,
            owner=owner,
            settings=self.settings,
            unfinished=UnfinishedCount(),
        )

    async def try_claim(self, message_id: UUID, worker_id: UUID) -> Claim | Ended | None:
        return await self.database.write(
            claims.claim,
            message_id,
            worker_id=worker_id,
            max_lost=self.settings.max_lost,
            run_limit_s=self.settings.run_limit_s,
            limit=self.cap,
        )

    async def claim(self, message: Message | UUID, worker_id: UUID | None = None) -> Claim:
        """Claim what must be claimable."""
        message_id = message if isinstance(message, UUID) else message.id
        claimed = await self.try_claim(message_id, worker_id or await self.worker())
        assert isinstance(claimed, Claim)
        return claimed

    async def claimed(self, session: VibeSession | None = None, prompt: str = "hi") -> Claim:
        """Accept a message, in a session of its own unless one is given, and claim it."""
        accepted = await self.accept(session or await self.session(), prompt)
        return await self.claim(accepted.message)

    async def complete(
        self, claim: Claim, result: Outcome | None = None, *, spans: Any = None, **made: Any
    ) -> Ended:
        made_so = result or outcome(claim, **made)
        return await self.database.write(
            transitions.complete, claim, made_so, [Spent()], limit=self.cap, spans=spans
        )

    async def answer(self, session: VibeSession, prompt: str = "hi") -> Claim:
        """Have a message accepted, claimed and completed."""
        claim = await self.claimed(session, prompt)
        await self.complete(claim)
        return claim

    async def fail(self, claim: Claim) -> Ended:
        async with self.database.begin() as db:
            return await transitions.fail(db, claim, BOOM, [Spent()], limit=self.cap)

    async def release(self, claim: Claim) -> Ended:
        async with self.database.begin() as db:
            return await transitions.release(db, claim, [Spent()], limit=self.cap)

    async def run_again(self, claim: Claim) -> Claim:
        async with self.database.begin() as db:
            return await claims.run_again(db, claim, [Spent()])

    async def cancel(self, message_id: UUID) -> Ended:
        async with self.database.begin() as db:
            message = await messages.get(db, message_id, owner=OWNER)
            return await transitions.cancel(db, message, limit=self.cap)

    async def clear(self, session: VibeSession) -> Ended:
        async with self.database.begin() as db:
            return await transitions.clear_session(db, session.id, limit=self.cap)

    async def delete(self, project: Project) -> Ended:
        async with self.database.begin() as db:
            locked = await projects.lock(db, project.id, owner=OWNER)
            return await transitions.delete_project(db, locked, limit=self.cap)

    async def webhook(
        self,
        project_id: UUID,
        *statuses: str,
        url: str = "https://example.com/hook",
    ) -> Webhook:
        """Add a webhook, of all statuses unless some are named."""
        wanted = [MessageStatus(status) for status in statuses or ENDS]
        async with self.database.begin() as db:
            return await webhooks.create(db, project_id, owner=OWNER, url=url, statuses=wanted)

    async def deliveries(self, webhook: Webhook) -> Sequence[Delivery]:
        """List what a webhook is to be told or was told, newest first."""
        async with self.database.read() as db:
            return await webhooks.deliveries(db, webhook.id, after=None, limit=1000)

    async def mark_enqueued(self, project: Project, *, limit: int) -> tuple[UUID, ...]:
        async with self.database.begin() as db:
            return await dispatch.mark_enqueued(db, project.id, limit=limit)

    async def change(self, table: Any, row_id: UUID, **values: Any) -> None:
        """Set columns behind the store's back."""
        async with self.database.begin() as db:
            await db.execute(update(table).where(table.id == row_id).values(**values))

    async def delete_items(self, session: VibeSession, *, start: int) -> None:
        """Delete the items from a position on, as a restored backup has none there."""
        async with self.database.begin() as db:
            await db.execute(
                delete(Item).where(Item.session_id == session.id, Item.position >= start)
            )

    async def message(self, message_id: UUID) -> Message:
        async with self.database.read() as db:
            return await db.get_one(Message, message_id)

    async def stored_session(self, session: VibeSession) -> VibeSession:
        async with self.database.read() as db:
            return await db.get_one(VibeSession, session.id)

    async def attempts(self, message_id: UUID) -> list[str | None]:
        """List how the attempts at a message ended."""
        async with self.database.read() as db:
            found = await db.scalars(
                select(Attempt.outcome)
                .where(Attempt.message_id == message_id)
                .order_by(Attempt.number)
            )
            return list(found)

    async def session_of(self, claim: Claim) -> VibeSession:
        async with self.database.read() as db:
            return await db.get_one(VibeSession, claim.session_id)

    async def items(self, session: VibeSession, *, generation: int = 1) -> list[dict[str, Any]]:
        async with self.database.read() as db:
            found = await sessions.items(db, session.id, generation=generation)
            return [row.item for row in found]

    async def positions(self, session: VibeSession) -> list[tuple[int, int]]:
        """List (generation, position) of all items."""
        async with self.database.read() as db:
            rows = await db.execute(
                select(Item.generation, Item.position)
                .where(Item.session_id == session.id)
                .order_by(Item.generation, Item.position)
            )
            return [(row.generation, row.position) for row in rows]

    async def count(self, table: Any) -> int:
        async with self.database.read() as db:
            return await db.scalar(select(func.count()).select_from(table)) or 0
