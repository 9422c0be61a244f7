"""Transitions that wait for another one's lock: each sees what the other one did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import SessionNotFound
from shared.store import claims, projects, transitions
from shared.store.accept import Accepted, UnfinishedCount, accept
from shared.store.types import Claim
from shared.tables import Item, Message, MessageResponse, MessageStatus, VibeSession
from tests.shared.test_database import cut
from tests.shared.world import ON_POSTGRESQL, OWNER, Spent, World, draft, outcome

T = TypeVar("T")
pytestmark = ON_POSTGRESQL


async def commit(db: AsyncSession) -> None:
    """Commit before the end of the block, for a transition that waits for it."""
    await db.info["driver"].commit()


async def accepted_in(db: AsyncSession, world: World, session: VibeSession) -> Accepted:
    return await accept(
        db,
        session.id,
        draft(),
        owner=OWNER,
        settings=world.settings,
        unfinished=UnfinishedCount(),
    )


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


async def test_who_waited_for_another_message_comes_after_it_and_is_not_enqueued(
    world: World,
) -> None:
    session = await world.session()
    async with world.database.begin() as db:
        first = await accepted_in(db, world, session)
        async with waiting(world, world.accept(session)) as second:
            await commit(db)
    accepted = await second
    assert (first.message.seq, accepted.message.seq) == (1, 2)
    assert first.ended.ready == (first.message.id,)
    assert accepted.ended.ready == ()


async def test_who_waited_for_the_end_of_the_message_before_is_enqueued(world: World) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        await transitions.complete(db, claim, outcome(claim), [Spent()], limit=9)
        async with waiting(world, world.accept(session)) as second:
            await commit(db)
    accepted = await second
    assert accepted.ended.ready == (accepted.message.id,)


async def test_who_waited_for_a_project_that_was_deleted_is_refused(world: World) -> None:
    project = await world.project()
    session = await world.session(project)
    async with world.database.begin() as db:
        found = await projects.lock(db, project.id, owner=OWNER)
        await transitions.delete_project(db, found, limit=9)
        async with waiting(world, world.accept(session)) as accepting:
            await commit(db)
    with pytest.raises(SessionNotFound):
        await accepting
    assert await world.count(Message) == 0


async def test_an_end_that_waited_for_the_next_message_enqueues_it(world: World) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        behind = await accepted_in(db, world, session)
        async with waiting(world, world.complete(claim)) as completing:
            await commit(db)
    assert (await completing).ready == (behind.message.id,)


async def test_an_end_that_waited_for_a_change_of_the_session_counts_its_items(
    world: World,
) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        await db.execute(
            update(VibeSession).where(VibeSession.id == session.id).values(title="renamed")
        )
        async with waiting(world, world.complete(claim)) as completing:
            await commit(db)
    await completing
    stored = await world.stored_session(session)
    assert (stored.title, stored.item_count) == ("renamed", 2)
    assert stored.last_message_id == claim.message_id
    assert len(await world.items(session)) == 2


async def test_an_end_that_waited_for_a_cancel_keeps_nothing(world: World) -> None:
    claim = await world.claimed()
    session = await world.session_of(claim)
    async with world.database.begin() as db:
        await transitions.lock_session(db, session.id)
        message = await db.get_one(Message, claim.message_id)
        await transitions.cancel(db, message, limit=9)
        async with waiting(world, world.complete(claim)) as completing:
            await commit(db)
    with pytest.raises(transitions.LeaseLost):
        await completing
    assert (await world.message(claim.message_id)).status == MessageStatus.CANCELLED
    assert (await world.stored_session(session)).item_count == 0
    assert await world.count(Item) == await world.count(MessageResponse) == 0


async def test_a_claim_that_waited_for_a_cancel_takes_nothing(world: World) -> None:
    message = (await world.accept(await world.session())).message
    async with world.database.begin() as db:
        found = await db.get_one(Message, message.id)
        await transitions.cancel(db, found, limit=9)
        async with waiting(world, world.try_claim(message.id, await world.worker())) as claiming:
            await commit(db)
    assert await claiming is None
    assert await world.attempts(message.id) == []


async def test_a_claim_that_waited_for_another_takes_nothing(world: World) -> None:
    message, worker = (await world.accept(await world.session())).message, await world.worker()
    async with world.database.begin() as db:
        first = await claims.claim(
            db, message.id, worker_id=worker, max_lost=1, run_limit_s=60, limit=9
        )
        async with waiting(world, world.try_claim(message.id, worker)) as second:
            await commit(db)
    assert isinstance(first, Claim)
    assert await second is None
    assert (await world.message(message.id)).attempt == 1


async def test_a_draft_whose_acceptance_was_not_heard_of_is_accepted_once(world: World) -> None:
    session, sent = await world.session(), draft()
    first = await world.accept_draft(session.id, sent)
    again = await world.accept_draft(session.id, sent)
    assert again.message.id == first.message.id
    assert again.ended.ready == (first.message.id,), "nobody may have been told"
    assert not again.replayed
    assert await world.count(Message) == 1


async def test_a_message_whose_connections_were_cut_is_answered_all_the_same(
    world: World, postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session, worker = await world.session(), await world.worker()
    opened = [world.accept(await world.session()) for _ in range(4)]
    await asyncio.gather(*opened)
    cut(postgres_server, world.settings)
    accepted = await world.accept(session)
    cut(postgres_server, world.settings)
    claim = await world.claim(accepted.message, worker)
    cut(postgres_server, world.settings)
    assert (await world.complete(claim)).ids == (claim.message_id,)
    assert world.database.pool.in_use() == 0
    assert caplog.messages == []


async def test_who_is_cancelled_while_a_statement_runs_leaves_a_connection_for_the_next(
    world: World,
) -> None:
    session = await world.session()
    async with world.database.begin() as db:
        await transitions.lock_session(db, session.id)
        async with waiting(world, world.accept(session)) as accepting:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
    assert accepting.cancelled()
    assert (await world.accept(session)).message.seq == 1
    assert world.database.pool.in_use() == 0
