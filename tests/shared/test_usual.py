"""One statement for a transaction: it leaves what several do, and nothing if it waited in vain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import SessionNotFound
from shared.store import accept, cancels, claims, projects, sessions, transitions, usual
from shared.store.events import Batch, RunEvent
from shared.store.types import Claim, Outcome
from shared.tables import (
    Attempt,
    Event,
    EventKind,
    Item,
    Message,
    MessageResponse,
    MessageStatus,
    ModelCall,
    VibeSession,
)
from tests.shared.statements import counted
from tests.shared.test_database import cut
from tests.shared.world import ON_POSTGRESQL, OWNER, Spent, World, draft, outcome

T = TypeVar("T")
pytestmark = ON_POSTGRESQL
_TABLES: tuple[Any, ...] = (VibeSession, Message, Attempt, Item, MessageResponse, ModelCall, Event)
_SPANS = [{"span_id": "span_1", "name": "\x00 and \ud800"}]


async def rows(world: World) -> list[list[dict[str, Any]]]:
    """Read all that a message leaves, without what differs by chance: ids and times."""
    found = []
    async with world.database.read() as db:
        for table in _TABLES:
            columns = list(table.__table__.columns.keys())
            stored = (await db.execute(select(*(getattr(table, name) for name in columns)))).all()
            found.append(
                [
                    {
                        name: value is None if name.endswith(("_at", "id", "_key")) else value
                        for name, value in row._mapping.items()
                    }
                    for row in stored
                ]
            )
    return found


def told_by(claim: Claim) -> Batch:
    said = [{"text": "\x00"}, {"text": "b"}]
    events = [RunEvent(3 + n, EventKind.TEXT, data, 1.5) for n, data in enumerate(said)]
    return Batch(claim.message_id, claim.attempt, events)


async def test_one_statement_leaves_what_several_leave(world: World) -> None:
    worker = await world.worker()
    items = [{"role": "user", "content": "\x00"}, {"role": "assistant", "content": "\ud800"}]

    def made(claim: Claim) -> Outcome:
        return replace(outcome(claim, items=items), responses=[{"id": "resp_1"}])

    calls = [Spent(1, usage={"input_tokens": 7}), Spent(2, error="timeout")]
    session = await world.session()
    sent = draft(key="k")
    async with world.database.single() as db:
        accepted = await usual.accept(db, session.id, sent, owner=OWNER, settings=world.settings)
        assert accepted
        claim = await usual.claim(db, accepted.message.id, worker_id=worker)
        assert claim
        ended = await usual.complete(
            db, claim, made(claim), calls, told=told_by(claim), spans=_SPANS
        )
    at_once = await rows(world)
    async with world.database.begin() as db:
        for table in reversed(_TABLES):
            await db.execute(table.__table__.delete())
    session = await world.session(await world.project())
    sent = draft(key="k")
    async with world.database.begin() as db:
        long_accepted = await accept.accept(
            db, session.id, sent, owner=OWNER, settings=world.settings
        )
        long_claim = await claims.claim(
            db, sent.message_id, worker_id=worker, max_lost=1, run_limit_s=60, limit=9
        )
        assert isinstance(long_claim, Claim)
        long_ended = await transitions.complete(
            db,
            long_claim,
            made(long_claim),
            calls,
            limit=9,
            told=told_by(long_claim),
            spans=_SPANS,
        )
    assert at_once == await rows(world)
    assert accepted.ended.heads == (accepted.message.id,)
    assert long_accepted.ended.heads == (sent.message_id,)
    assert ended == replace(long_ended, ids=(claim.message_id,))
    differing = {"message_id", "session_id", "project_id", "openai_session_key"}
    differing |= {"queued_at", "claimed_at", "waited_s"}
    for name in Claim.__dataclass_fields__.keys() - differing:
        assert getattr(claim, name) == getattr(long_claim, name), name
    assert claim.session_id == accepted.message.session_id
    assert claim.project_id == accepted.message.project_id
    assert claim.openai_session_key.startswith(f"project_{claim.project_id}")
    assert claim.waited_s == claim.claimed_at - claim.queued_at


@asynccontextmanager
async def waiting(world: World, work: Awaitable[T]) -> AsyncIterator["asyncio.Future[T]"]:
    """Begin what has to wait for a lock."""
    task = asyncio.ensure_future(work)
    stuck = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(10):
        while True:
            async with world.database.read() as db:
                if await db.scalar(stuck):
                    break
            assert not task.done(), "it was to wait"
            await asyncio.sleep(0.01)
    yield task


async def locked(db: AsyncSession, session: VibeSession) -> None:
    assert await sessions.lock(db, session.id)


async def test_who_waited_for_another_message_comes_after_it_and_is_not_hinted(
    world: World,
) -> None:
    session = await world.session()
    async with world.database.begin() as db:
        first = await accept.accept(db, session.id, draft(), owner=OWNER, settings=world.settings)
        async with waiting(world, world.accept(session)) as second:
            await db.commit()
    accepted = await second
    assert (first.message.seq, accepted.message.seq) == (1, 2)
    assert first.ended.heads == (first.message.id,)
    assert accepted.ended.heads == ()


async def test_who_waited_for_the_end_of_the_message_before_is_hinted(world: World) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        await transitions.complete(db, claim, outcome(claim), [Spent()], limit=9)
        async with waiting(world, world.accept(session)) as second:
            await db.commit()
    accepted = await second
    assert accepted.ended.heads == (accepted.message.id,)


async def test_who_waited_for_a_project_that_was_deleted_is_refused(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    async with world.database.begin() as db:
        found = await projects.lock(db, project.id, owner=OWNER)
        await cancels.delete_project(db, found)
        async with waiting(world, world.accept(session)) as accepting:
            await db.commit()
    with pytest.raises(SessionNotFound):
        await accepting
    assert await world.count(Message) == 0


async def test_an_end_that_waited_for_the_next_message_hints_it(world: World) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        behind = await accept.accept(db, session.id, draft(), owner=OWNER, settings=world.settings)
        async with waiting(world, world.complete(claim)) as completing:
            await db.commit()
    assert (await completing).heads == (behind.message.id,)


async def test_an_end_that_waited_for_a_change_of_the_session_counts_its_items(
    world: World,
) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        await db.execute(
            update(VibeSession).where(VibeSession.id == session.id).values(title="renamed")
        )
        with counted() as sent:
            async with waiting(world, world.complete(claim)) as completing:
                await db.commit()
            await completing
    assert len([one for one in sent if "pg_stat_activity" not in one]) == 1, sent
    stored = await world.stored_session(session)
    assert (stored.title, stored.item_count) == ("renamed", 2)
    assert stored.last_message_id == claim.message_id
    assert len(await world.items(session)) == 2


async def test_an_end_that_waited_for_a_cancel_keeps_nothing(world: World) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        await locked(db, session)
        message = await db.get_one(Message, claim.message_id)
        await cancels.cancel(db, message, limit=9)
        async with waiting(world, world.complete(claim)) as completing:
            await db.commit()
    with pytest.raises(transitions.LeaseLost):
        await completing
    assert (await world.message(claim.message_id)).status == MessageStatus.CANCELLED
    assert (await world.stored_session(session)).item_count == 0
    assert await world.count(Item) == await world.count(MessageResponse) == 0


async def test_a_claim_that_waited_for_a_cancel_takes_nothing(world: World) -> None:
    message = (await world.accept(await world.session())).message
    async with world.database.begin() as db:
        found = await db.get_one(Message, message.id)
        await cancels.cancel(db, found, limit=9)
        async with waiting(world, world.try_claim(message.id, await world.worker())) as claiming:
            await db.commit()
    assert await claiming is None
    assert await world.attempts(message.id) == []


async def test_a_claim_that_waited_for_another_takes_nothing(world: World) -> None:
    message, worker = (await world.accept(await world.session())).message, await world.worker()
    async with world.database.begin() as db:
        first = await claims.claim(
            db, message.id, worker_id=worker, max_lost=1, run_limit_s=60, limit=9
        )
        async with waiting(world, world.try_claim(message.id, worker)) as second:
            await db.commit()
    assert isinstance(first, Claim)
    assert await second is None
    assert (await world.message(message.id)).attempt == 1


async def test_a_draft_whose_acceptance_was_not_heard_of_is_accepted_once(world: World) -> None:
    session, sent = await world.session(), draft()
    first = await world.accept_draft(session.id, sent)
    again = await world.accept_draft(session.id, sent)
    assert again.message.id == first.message.id
    assert again.ended.heads == (first.message.id,), "nobody may have been told"
    assert not again.replayed
    assert await world.count(Message) == 1


async def test_when_its_connections_were_cut_a_message_goes_the_long_way(
    world: World, postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session = await world.session()
    opened = [world.accept(await world.session()) for _ in range(4)]
    await asyncio.gather(*opened)
    cut(postgres_server, world.settings)
    accepted = await world.accept(session)
    cut(postgres_server, world.settings)
    claim = await world.claim(accepted.message)
    cut(postgres_server, world.settings)
    assert (await world.complete(claim)).ids == (claim.message_id,)
    with counted() as sent:
        await world.accept(session)
    assert len(sent) == 1, "the others were dropped with the first that broke"
    assert world.database.pools()["single"].checkedout() == 0
    assert caplog.messages == []


async def test_who_is_cancelled_while_a_statement_runs_leaves_a_connection_for_the_next(
    world: World,
) -> None:
    session = await world.session()
    async with world.database.begin() as db:
        await locked(db, session)
        async with waiting(world, world.accept(session)) as accepting:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
    assert accepting.cancelled()
    assert (await world.accept(session)).message.seq == 1
    assert world.database.pools()["single"].checkedout() == 0
