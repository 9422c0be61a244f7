"""All verbs at once, from many connections: no deadlock, no two at a time, nothing stuck."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from sqlalchemy import func, select

from shared.database import Database, DatabaseAway
from shared.errors import SessionBusy, SessionNotFound
from shared.settings import Settings
from shared.store import dispatch
from shared.store.transitions import Claim, Ended, LeaseLost, RevisionConflict
from shared.tables import UNFINISHED, Item, Message, MessageStatus, Project, Revision, VibeSession
from shared.workflow.text import EMPTY_WORKFLOW
from tests.shared.world import ON_POSTGRESQL, World

CLIENTS = 6
WORKERS = 6
MESSAGES = 150
SECONDS = 20.0
"""The end on a slow machine; a fast one has had its messages long before."""
CAP = 3


class Chaos:
    """Clients and workers that do what comes to their mind, until it was enough."""

    def __init__(self, settings: Settings, seed: int) -> None:
        # the lease: on SQLite so many writers wait for the file longer than two or three would
        changes = {"project_concurrency": CAP, "max_lost": 2, "lease_s": 80}
        self.settings = settings.model_copy(update=changes)
        self.random = random.Random(seed)
        self.projects: list[Project] = []
        self.sessions: list[VibeSession] = []
        self.hints: asyncio.Queue[UUID] = asyncio.Queue()
        self.accepted: list[UUID] = []
        self.commits: dict[UUID, list[int]] = {}
        self.looked = 0
        self.end = time.monotonic() + SECONDS

    @property
    def going_on(self) -> bool:
        return len(self.accepted) < MESSAGES and time.monotonic() < self.end

    async def prepare(self, world: World) -> None:
        self.projects = [await world.project() for _ in range(2)]
        for project in self.projects:
            self.sessions += [await world.session(project) for _ in range(3)]

    def tell(self, ended: Ended) -> None:
        for head in ended.ready:
            if self.random.random() < 0.95:  # some hints are lost
                self.hints.put_nowait(head)
            if self.random.random() < 0.1:  # some are doubled
                self.hints.put_nowait(head)

    async def client(self, world: World) -> None:
        session = self.random.choice(self.sessions)
        match self.random.choices(["accept", "rollback", "cancel", "clear"], [12, 1, 2, 1])[0]:
            case "cancel" if self.accepted:
                self.tell(await world.cancel(self.random.choice(self.accepted[-20:])))
            case "clear":
                self.tell(await world.clear(session))
            case verb:
                how = self.random.choice(["enqueue", "enqueue", "reject"])
                accepted = await world.accept(
                    session, on_busy="rollback" if verb == "rollback" else how
                )
                self.accepted.append(accepted.message.id)
                self.tell(accepted.ended)

    async def worker(self, world: World) -> None:
        try:
            message_id = await asyncio.wait_for(self.hints.get(), 0.05)
        except TimeoutError:
            await self.sweep(world)
            return
        lease_s = 30 if self.random.random() < 0.8 else -1  # some are already taken for dead
        claimed = await world.try_claim(message_id, await world.worker(lease_s=lease_s))
        if isinstance(claimed, Claim):
            await asyncio.sleep(self.random.random() * 0.01)
            self.tell(await self.finish(world, claimed))
        elif claimed is not None:
            self.tell(claimed)

    async def finish(self, world: World, claim: Claim) -> Ended:
        match self.random.choices(["say", "change", "fail", "release", "die"], [4, 4, 1, 1, 1])[0]:
            case "say":
                return await self.complete(world, claim, None)
            case "change":
                return await self.complete(world, claim, f"{EMPTY_WORKFLOW}\nx = {claim.attempt}\n")
            case "fail":
                return await world.fail(claim)
            case "release":
                return await world.release(claim)
            case _:
                stored = await world.message(claim.message_id)
                if stored.worker_id is not None:
                    await world.renew(stored.worker_id, lease_s=-1)
                return Ended()

    async def complete(self, world: World, claim: Claim, code: str | None) -> Ended:
        for _ in range(3):
            try:
                ended = await world.complete(claim, code=code)
            except RevisionConflict:
                claim = await world.run_again(claim)
                code = f"{claim.code}y = {claim.attempt}\n"
            else:
                seq = (await world.message(claim.message_id)).seq
                self.commits.setdefault(claim.session_id, []).append(seq)
                return ended
        return await world.release(claim)

    async def sweep(self, world: World, *, everything: bool = False) -> None:
        async with world.database.begin() as db:
            lost = await dispatch.mark_lost(
                db,
                waiting=0,
                enqueued_before_s=-1 if everything else 0.3,
                run_limit_s=300,
                limit=20,
            )
            lost += await dispatch.mark_waiting(db, project_limit=CAP, limit=20)
        self.tell(Ended(ready=lost))

    async def run(self, role: str) -> None:
        """Do one thing after the other on connections of one's own."""
        database = Database(self.settings, name=role)
        world = World(database, self.settings)
        while self.going_on:
            with suppress(LeaseLost, SessionBusy):
                await (self.client(world) if role == "client" else self.worker(world))
            if role == "client":
                await asyncio.sleep(self.random.random() * 0.02)
        await database.close()

    async def watch(self, world: World) -> None:
        """Look for two messages of a session that run at the same time."""
        running = (
            select(Message.session_id)
            .where(Message.status == MessageStatus.IN_PROGRESS)
            .group_by(Message.session_id)
            .having(func.count() > 1)
        )
        while self.going_on:
            async with world.database.read() as db:
                assert not (await db.scalars(running)).all()
            self.looked += 1
            await asyncio.sleep(0.01)

    async def drain(self, world: World) -> None:
        """Answer all that is left, as living workers would."""
        deadline = time.monotonic() + 20
        while await unfinished(world):
            assert time.monotonic() < deadline, "messages are stuck"
            await self.sweep(world, everything=True)
            while not self.hints.empty():
                worker = await world.worker()
                claimed = await world.try_claim(self.hints.get_nowait(), worker)
                if isinstance(claimed, Claim):
                    self.tell(await world.complete(claimed))
                    seq = (await world.message(claimed.message_id)).seq
                    self.commits.setdefault(claimed.session_id, []).append(seq)


async def unfinished(world: World) -> int:
    async with world.database.read() as db:
        statement = select(func.count()).where(Message.status.in_(UNFINISHED))
        return await db.scalar(statement) or 0


async def test_in_any_confusion_each_message_ends_once_and_in_order(
    world: World, settings: Settings
) -> None:
    chaos = Chaos(settings, seed=1)
    await chaos.prepare(world)
    roles = ["client"] * CLIENTS + ["worker"] * WORKERS
    await asyncio.gather(*(chaos.run(role) for role in roles), chaos.watch(world))
    await chaos.drain(World(world.database, chaos.settings))
    assert chaos.looked
    assert chaos.commits
    await check_order(world, chaos)
    await check_memory(world, chaos.sessions)
    await check_code(world, chaos.projects)


async def check_order(world: World, chaos: Chaos) -> None:
    """Each completed message was committed once, in the order of acceptance."""
    async with world.database.read() as db:
        for session in chaos.sessions:
            completed = (
                select(Message.seq)
                .where(Message.session_id == session.id, Message.status == MessageStatus.COMPLETED)
                .order_by(Message.ended_at, Message.seq)
            )
            in_order = list(await db.scalars(completed))
            assert in_order == sorted(in_order)
            assert sorted(chaos.commits.get(session.id, [])) == in_order


async def check_memory(world: World, sessions: Sequence[VibeSession]) -> None:
    """Each generation's items are without gaps, and the counters are those of the newest."""
    async with world.database.read() as db:
        for session in sessions:
            stored = await db.get_one(VibeSession, session.id)
            rows = await db.execute(
                select(Item.generation, func.count(), func.max(Item.position) + 1)
                .where(Item.session_id == session.id)
                .group_by(Item.generation)
            )
            counts = {generation: (count, end) for generation, count, end in rows.all()}
            assert all(count == end for count, end in counts.values())
            assert counts.get(stored.generation, (0, 0))[0] == stored.item_count


async def check_code(world: World, projects: Sequence[Project]) -> None:
    """The code is that of the last revision, and each revision's message has completed."""
    async with world.database.read() as db:
        for project in projects:
            stored = await db.get_one(Project, project.id)
            rows = (
                await db.scalars(
                    select(Revision)
                    .where(Revision.project_id == project.id)
                    .order_by(Revision.number)
                )
            ).all()
            assert [row.number for row in rows] == list(range(1, stored.revision + 1))
            assert rows[-1].code == stored.code
            for row in rows[1:]:
                message = await db.get_one(Message, row.message_id)
                assert (message.status, message.revision) == ("completed", row.number)


@ON_POSTGRESQL
async def test_all_verbs_on_sessions_of_one_project_never_deadlock(
    world: World, settings: Settings
) -> None:
    """Without `retried` around them: a single deadlock would come through."""
    project = await world.project()
    sessions = [await world.session(project) for _ in range(4)]
    world.limit(project_concurrency=2)
    databases = [Database(settings, name="t") for _ in sessions]
    worlds = [World(database, world.settings) for database in databases]

    async def transitions(mine: World, session: VibeSession, turn: int) -> None:
        for step in range(12):
            claim = await mine.claimed(session)
            await mine.accept(session)
            verb = (turn + step) % 5
            try:
                match verb:
                    case 0:
                        await mine.complete(claim, code=f"{claim.code}x{turn} = {step}\n")
                    case 1:
                        await mine.cancel(claim.message_id)
                    case 2:
                        await mine.complete(await mine.run_again(claim))
                    case 3:
                        await mine.fail(claim)
                    case _:
                        await mine.release(claim)
            except RevisionConflict:
                pass
            await mine.clear(session)

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(
                transitions(mine, session, turn)
                for turn, (mine, session) in enumerate(zip(worlds, sessions, strict=True))
            )
        )
    for database in databases:
        await database.close()
    assert await unfinished(world) == 0


async def _finish_and_go_on(world: World, claim: Claim, session: VibeSession) -> None:
    with suppress(LeaseLost, RevisionConflict, SessionNotFound):
        await world.complete(claim, code=f"{claim.code}x = 1\n")
        await world.accept(session)


@ON_POSTGRESQL
async def test_deleting_a_project_while_its_sessions_are_busy_never_deadlocks(
    world: World, settings: Settings
) -> None:
    for _ in range(5):
        project = await world.project()
        sessions = [await world.session(project) for _ in range(4)]
        claims = [await world.claimed(session) for session in sessions]
        others = [Database(settings, name="t") for _ in claims]

        steps = [
            _finish_and_go_on(World(database, world.settings), claim, session)
            for database, claim, session in zip(others, claims, sessions, strict=True)
        ]
        async with asyncio.timeout(20):
            await asyncio.gather(*steps, world.delete(project))
        for database in others:
            await database.close()
    assert await unfinished(world) == 0


@ON_POSTGRESQL
async def test_a_deadlock_would_be_seen_by_these_tests(world: World, settings: Settings) -> None:
    """Take two sessions in either order, as the store never does."""
    one, two = await world.session(), await world.session()
    other = Database(settings, name="t")

    async def lock(database: Database, order: list[VibeSession], met: asyncio.Barrier) -> None:
        async with database.begin() as db:
            for session in order:
                row = select(VibeSession.id).where(VibeSession.id == session.id)
                await db.execute(row.with_for_update())
                async with asyncio.timeout(5):
                    await met.wait() if session is order[0] else None

    met = asyncio.Barrier(2)
    results = await asyncio.gather(
        lock(world.database, [one, two], met),
        lock(other, [two, one], met),
        return_exceptions=True,
    )
    await other.close()
    (error,) = [result for result in results if result is not None]
    assert isinstance(error, DatabaseAway)
    assert str(error) == "DeadlockDetected"
