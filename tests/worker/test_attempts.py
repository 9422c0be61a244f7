"""Attempts with a scripted model on a real database: everything is committed, or nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from agents import Model, Usage
from agents.testing import ScriptedModel, assistant_message, function_call
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from shared.channels import Channel
from shared.database import CommitUnknown, Database, DatabaseAway
from shared.prices import load_prices
from shared.store import messages, projects
from shared.store.transitions import Ended
from shared.tables import Item, Message, MessageResponse, ModelCall, Project, Revision, VibeSession
from shared.workflow.text import EMPTY_WORKFLOW
from tests.shared.world import ON_SQLITE, OWNER, World
from worker.agent.tools import WorkflowEditor
from worker.attempt import run_message
from worker.context import WorkerContext
from worker.memory.history import prepare
from worker.memory.session import Memories, SessionMemory
from worker.recorder import Recorder
from worker.runs import Runs, StopReason

DONE = [assistant_message("done")]
IMPORT = " from agents import Agent\n"


def adding(name: str, call_id: str = "1") -> Any:
    """Add an agent behind the imports: applies to any module."""
    patch = f'@@\n{IMPORT}+\n+{name} = Agent(name="{name}")\n'
    return function_call("apply_patch", {"patch": patch}, call_id=call_id)


def changing(old: str, new: str) -> Any:
    patch = f'@@\n-{old} = Agent(name="{old}")\n+{new} = Agent(name="{new}")\n'
    return function_call("apply_patch", {"patch": patch}, call_id="1")


class Scripted(ScriptedModel):
    """A scripted model that does something first: what others do meanwhile."""

    def __init__(
        self, script: list[Any], meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        used = Usage(requests=1, input_tokens=7, output_tokens=3, total_tokens=10)
        super().__init__(script, default_usage=used)
        self.meanwhile = meanwhile

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().get_response(*args, **kwargs)


class Breaking(Database):
    """A database whose transactions break: by number, before, during or after their commit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.breaks: dict[int, str] = {}
        self.begun = 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        self.begun += 1
        how = self.breaks.get(self.begun)
        if how == "away":
            raise DatabaseAway
        async with super().begin() as db:
            yield db
            if how == "before":
                raise CommitUnknown
        if how == "after":
            raise CommitUnknown


class Attempts:
    """A worker's context with a scripted model, and messages that it answers."""

    def __init__(self, world: World, folder: Path, database: Database | None = None) -> None:
        self.world = world
        self.folder = folder
        self.memories = Memories(world.database, folder)
        world.exits.callback(self.memories.close)
        self.database = database or world.database
        self.runs = Runs()
        self.recorder = Recorder(self.database, Channel(world.settings))
        self.model: Model = Scripted([])
        self.announced: list[Ended] = []

    def get(self, name: str, *, owner: str) -> Model:
        assert (name, owner) == ("offline", OWNER)
        return self.model

    async def announce(self, ended: Ended) -> None:
        self.announced.append(ended)

    async def context(self) -> WorkerContext:
        return WorkerContext(
            settings=self.world.settings,
            worker_id=await self.world.worker(),
            database=self.database,
            announcer=self,  # type: ignore[arg-type]
            memories=self.memories,
            models=self,  # type: ignore[arg-type]
            runs=self.runs,
            recorder=self.recorder,
            prices=load_prices(self.world.settings.prices),
            checker=self.world.checker,
        )

    async def run(
        self,
        script: list[Any],
        session: VibeSession | None = None,
        *,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> Message:
        """Have a message accepted and answered; give what became of it."""
        session = session or await self.world.session()
        message = (await self.world.accept(session, "Create it")).message
        self.model = Scripted(script, meanwhile)
        await run_message(message.id, context=await self.context())
        assert self.runs.keys() == frozenset()
        return await self.world.message(message.id)

    async def code(self, message: Message) -> str:
        async with self.world.database.read() as db:
            return (await db.get_one(Project, message.project_id)).code

    async def seen(self, session: VibeSession) -> list[Any]:
        """Give what the next message's model is shown of the conversation."""
        await self.run([DONE], session)
        assert isinstance(self.model, ScriptedModel)
        assert self.model.first_call is not None
        return list(self.model.first_call.input)

    async def change_code(self, project_id: UUID, code: str) -> None:
        async with self.world.database.begin() as db:
            project = await projects.lock(db, project_id, owner=OWNER)
            await projects.revise(db, project, code=code, diff="x", message_id=None)


@pytest.fixture
def attempts(world: World, tmp_path: Path) -> Attempts:
    return Attempts(world, tmp_path / "sessions")


@pytest.fixture
async def breaking(world: World) -> AsyncIterator[Breaking]:
    database = Breaking(world.settings, name="breaking")
    yield database
    await database.close()


async def nothing_left(world: World) -> None:
    assert await world.count(Item) == await world.count(MessageResponse) == 0
    assert await world.count(Revision) == 1


async def test_a_run_that_completes_commits_everything_together(attempts: Attempts) -> None:
    world = attempts.world
    session = await world.session()
    message = await attempts.run([[adding("triage")], DONE], session)
    assert (message.status, message.reply, message.revision) == ("completed", "done", 2)
    assert 'triage = Agent(name="triage")' in await attempts.code(message)
    assert '+triage = Agent(name="triage")' in message.diff
    items = await world.items(session)
    kinds = [item.get("role") or item["type"] for item in items]
    assert kinds == ["user", "function_call", "function_call_output", "assistant"]
    async with world.database.read() as db:
        full = await messages.full(db, message.id, owner=OWNER)
    assert full.response is not None
    assert len(full.response.responses) == await world.count(ModelCall) == 2
    assert full.response.tool_calls[0]["output"].startswith("The patch is applied.")
    assert attempts.announced == [Ended(ids=(message.id,))]
    assert (await attempts.seen(session))[: len(items)] == prepare(items, None)


async def test_a_failed_run_leaves_nothing_in_memory_or_code(attempts: Attempts) -> None:
    session = await attempts.world.session()
    with capture_logs():
        message = await attempts.run([[adding("triage")], RuntimeError("boom")], session)
    assert message.error is not None
    assert (message.status, message.error["code"]) == ("failed", "internal")
    assert "boom" not in str(message.error)
    await nothing_left(attempts.world)
    assert await attempts.code(message) == EMPTY_WORKFLOW
    assert await attempts.world.count(ModelCall) == 2
    assert await attempts.world.attempts(message.id) == ["failed"]
    assert len(await attempts.seen(session)) == 1, "only the new prompt"


async def test_a_run_that_takes_too_long_fails_by_its_limit(attempts: Attempts) -> None:
    attempts.world.limit(run_timeout_s=0.3)
    message = await attempts.run([DONE], meanwhile=lambda: asyncio.sleep(20))
    assert message.error is not None
    assert message.error["code"] == "run_timeout"
    await nothing_left(attempts.world)


async def test_a_run_that_cancels_itself_fails_and_does_not_hang(attempts: Attempts) -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with capture_logs():
        message = await attempts.run([DONE], meanwhile=give_up)
    assert message.status == "failed"


async def test_the_end_of_a_message_readies_the_next_one(attempts: Attempts) -> None:
    session = await attempts.world.session()

    async def send_another() -> None:
        await attempts.world.accept(session, "next")

    message = await attempts.run([DONE], session, meanwhile=send_another)
    (ended,) = attempts.announced
    assert ended.ids == (message.id,)
    assert len(ended.ready) == 1


async def test_a_message_cancelled_during_its_run_stays_cancelled(attempts: Attempts) -> None:
    session = await attempts.world.session()

    async def cancel() -> None:
        (key,) = attempts.runs.keys()
        await attempts.world.cancel(key[0])

    message = await attempts.run([[adding("triage")], DONE], session, meanwhile=cancel)
    assert (message.status, message.reply) == ("cancelled", None)
    await nothing_left(attempts.world)
    assert attempts.announced == []
    assert await attempts.world.count(ModelCall) == 2, "what it cost is recorded"


async def test_a_run_that_is_stopped_as_lost_records_its_calls_only(attempts: Attempts) -> None:
    async def lose() -> None:
        (key,) = attempts.runs.keys()
        await attempts.world.cancel(key[0])
        attempts.runs.stop([key], StopReason.LOST)
        await asyncio.sleep(20)

    message = await attempts.run([DONE], meanwhile=lose)
    assert message.status == "cancelled"
    await nothing_left(attempts.world)


async def test_a_released_run_goes_back_to_the_queue_unharmed(attempts: Attempts) -> None:
    async def release() -> None:
        attempts.runs.stop(attempts.runs.keys(), StopReason.RELEASED)
        await asyncio.sleep(20)

    message = await attempts.run([DONE], meanwhile=release)
    assert (message.status, message.lost_count) == ("queued", 0)
    assert attempts.announced == [Ended(ready=(message.id,))]
    attempts.model = Scripted([DONE])
    await run_message(message.id, context=await attempts.context())
    assert await attempts.world.attempts(message.id) == ["released", "completed"]


async def test_whatever_a_stopped_run_raises_it_is_released(attempts: Attempts) -> None:
    async def release() -> None:
        attempts.runs.stop(attempts.runs.keys(), StopReason.RELEASED)
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            raise RuntimeError("made of it by a library") from None

    assert (await attempts.run([DONE], meanwhile=release)).status == "queued"


@pytest.mark.parametrize("how", ["completed", "failed", StopReason.LOST, StopReason.RELEASED])
async def test_what_a_run_knew_is_freed_when_it_ends(
    attempts: Attempts, how: str | StopReason
) -> None:
    """Not when Python's collector comes by: with a long conversation it is a megabyte a message."""

    async def end() -> None:
        if how == "failed":
            raise RuntimeError
        if isinstance(how, StopReason):
            attempts.runs.stop(attempts.runs.keys(), how)
            await asyncio.sleep(20)

    known = WorkflowEditor | SessionMemory
    gc.collect()
    gc.disable()
    try:
        with capture_logs():
            await attempts.run([[adding("triage")], DONE], meanwhile=end)
        assert not [found for found in gc.get_objects() if isinstance(found, known)]
    finally:
        gc.enable()


async def test_a_late_hint_runs_nothing(attempts: Attempts) -> None:
    message = await attempts.run([DONE])
    attempts.model = Scripted([])
    await run_message(message.id, context=await attempts.context())
    assert await attempts.world.attempts(message.id) == ["completed"]


async def test_on_code_that_moved_the_patches_are_replayed(attempts: Attempts) -> None:
    session = await attempts.world.session()
    others = EMPTY_WORKFLOW + '\nbilling = Agent(name="billing")\n'
    meanwhile = _once(lambda: attempts.change_code(session.project_id, others))
    message = await attempts.run([[adding("triage")], DONE], session, meanwhile=meanwhile)
    assert (message.status, message.attempt, message.revision) == ("completed", 1, 3)
    code = await attempts.code(message)
    assert "triage = Agent" in code
    assert "billing = Agent" in code
    assert "+billing" not in message.diff, "the diff is against the code as it was"


async def test_when_the_patches_do_not_apply_the_message_is_run_again(attempts: Attempts) -> None:
    session = await attempts.world.session()
    await attempts.run([[adding("triage")], DONE], session)
    others = EMPTY_WORKFLOW + '\nbilling = Agent(name="billing")\n'
    meanwhile = _once(lambda: attempts.change_code(session.project_id, others))
    script = [[changing("triage", "front")], DONE, [changing("billing", "front")], DONE]
    message = await attempts.run(script, session, meanwhile=meanwhile)
    assert (message.status, message.attempt, message.conflict_count) == ("completed", 2, 1)
    assert "front = Agent" in await attempts.code(message)
    assert await attempts.world.attempts(message.id) == ["conflict", "completed"]
    prompts = [item for item in await attempts.world.items(session) if item.get("role") == "user"]
    assert len(prompts) == 2, "the prompt of the first try is not remembered"


async def test_an_edit_is_not_carried_into_another_agent(attempts: Attempts) -> None:
    """The only line that fits is in another agent now: the message runs again."""
    agent = '{0} = Agent(\n    name="{0}",\n    model="{1}",\n)\n'
    triage, billing = agent.format("triage", "gpt-4.1"), agent.format("billing", "gpt-5")
    project = await attempts.world.project(f"{EMPTY_WORKFLOW}{triage}{billing}")
    session = await attempts.world.session(project)
    others = f"{EMPTY_WORKFLOW}{triage}{billing}".replace("4.1", "x").replace("gpt-5", "gpt-4.1")
    meanwhile = _once(lambda: attempts.change_code(project.id, others))
    patch = '@@\n-    model="gpt-4.1",\n+    model="o3",\n'
    call = function_call("apply_patch", {"patch": patch}, call_id="1")
    message = await attempts.run([[call], DONE, DONE], session, meanwhile=meanwhile)
    assert (message.status, message.conflict_count, message.diff) == ("completed", 1, "")
    assert await attempts.code(message) == others


async def test_a_replaced_text_is_carried_to_code_that_moved(attempts: Attempts) -> None:
    code = EMPTY_WORKFLOW + '\ntriage = Agent(name="triage", model="gpt-4.1")\n'
    project = await attempts.world.project(code)
    session = await attempts.world.session(project)
    others = code.replace("import Agent\n", 'import Agent\n\nbilling = Agent(name="billing")\n')
    meanwhile = _once(lambda: attempts.change_code(project.id, others))
    call = function_call("replace_text", {"old": "gpt-4.1", "new": "gpt-5"}, call_id="1")
    message = await attempts.run([[call], DONE], session, meanwhile=meanwhile)
    assert (message.status, message.conflict_count) == ("completed", 0)
    assert await attempts.code(message) == others.replace("gpt-4.1", "gpt-5")


async def test_after_two_conflicts_the_message_fails(attempts: Attempts) -> None:
    session = await attempts.world.session()
    turn = 0

    async def always_move() -> None:
        nonlocal turn
        turn += 1
        code = f'{EMPTY_WORKFLOW}\na{turn} = Agent(name="a{turn}")\n'
        await attempts.change_code(session.project_id, code)

    await attempts.change_code(session.project_id, f'{EMPTY_WORKFLOW}\na0 = Agent(name="a0")\n')
    # each first call moves the code once more before the model patches what it was shown
    script = [item for n in (0, 2, 4) for item in ([changing(f"a{n}", "front")], DONE)]
    message = await attempts.run(script, session, meanwhile=always_move)
    assert message.error is not None
    assert (message.status, message.error["code"]) == ("failed", "code_conflict")
    assert await attempts.world.attempts(message.id) == ["conflict", "conflict", "failed"]


async def test_a_node_that_is_gone_is_a_conflict(attempts: Attempts) -> None:
    project = await attempts.world.project(EMPTY_WORKFLOW + '\ntriage = Agent(name="triage")\n')
    session = await attempts.world.session(project, node_id="triage")
    without = EMPTY_WORKFLOW + '\nbilling = Agent(name="billing")\n'
    meanwhile = _once(lambda: attempts.change_code(project.id, without))
    patch = '@@\n-triage = Agent(name="triage")\n+triage = Agent(name="triage", instructions="x")\n'
    call = function_call("apply_patch", {"patch": patch}, call_id="1")
    message = await attempts.run([[call], DONE, DONE], session, meanwhile=meanwhile)
    assert (message.status, message.conflict_count, message.diff) == ("completed", 1, "")
    assert await attempts.code(message) == without


async def test_a_whole_new_module_is_not_put_over_others_work(attempts: Attempts) -> None:
    session = await attempts.world.session()
    others = EMPTY_WORKFLOW + '\nbilling = Agent(name="billing")\n'
    meanwhile = _once(lambda: attempts.change_code(session.project_id, others))
    whole = '*** Add File: workflow.py\n+from agents import Agent\n+\n+a = Agent(name="a")\n'
    call = function_call("apply_patch", {"patch": whole}, call_id="1")
    message = await attempts.run([[call], DONE, DONE], session, meanwhile=meanwhile)
    assert (message.status, message.conflict_count) == ("completed", 1)
    assert await attempts.code(message) == others


COMMIT_3 = 2
"""The attempt's second transaction: the first is its claim."""


@pytest.mark.parametrize("lost", ["before", "after", "away"])
@pytest.mark.parametrize("script", [[DONE], [[adding("triage")], DONE]], ids=["plain", "code"])
async def test_a_commit_that_was_not_acknowledged_happens_once(
    world: World, tmp_path: Path, breaking: Breaking, lost: str, script: list[Any]
) -> None:
    attempts = Attempts(world, tmp_path, breaking)
    breaking.breaks = {COMMIT_3: lost}
    session = await world.session()
    message = await attempts.run(script, session)
    assert (message.status, message.reply, message.attempt) == ("completed", "done", 1)
    assert [ended.ids for ended in attempts.announced] == [(message.id,)]
    assert len(await world.items(session)) == (2 if len(script) == 1 else 4)
    assert await world.count(MessageResponse) == 1
    assert await world.count(Revision) == len(script)
    assert await world.attempts(message.id) == ["completed"]


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_a_failure_that_was_not_acknowledged_is_announced_once(
    world: World, tmp_path: Path, breaking: Breaking, lost: str
) -> None:
    attempts = Attempts(world, tmp_path, breaking)
    breaking.breaks = {COMMIT_3: lost}
    with capture_logs():
        message = await attempts.run([RuntimeError("boom")])
    assert message.status == "failed"
    assert [ended.ids for ended in attempts.announced] == [(message.id,)]


async def test_a_database_that_is_away_for_a_moment_loses_no_reply(
    world: World, tmp_path: Path, breaking: Breaking
) -> None:
    attempts = Attempts(world, tmp_path, breaking)
    breaking.breaks = dict.fromkeys(range(COMMIT_3, COMMIT_3 + 8), "away")
    with capture_logs() as logs:
        message = await attempts.run([DONE])
    assert message.status == "completed"
    assert [log["event"] for log in logs] == [
        "the database is away, trying on",
        "message completed",
    ]


async def test_a_claim_without_a_database_drops_the_hint_quietly(
    world: World, tmp_path: Path, breaking: Breaking
) -> None:
    attempts = Attempts(world, tmp_path, breaking)
    breaking.breaks = dict.fromkeys(range(1, 9), "away")
    with capture_logs() as logs:
        message = await attempts.run([DONE])
    assert message.status == "queued"
    assert [log["log_level"] for log in logs] == ["info"]


@ON_SQLITE
async def test_what_the_database_refuses_of_the_calls_does_not_keep_a_message_open(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.model.recording.dump", lambda _: {"usage": object()})
    with capture_logs():
        message = await attempts.run([DONE])
    assert message.error is not None
    assert (message.status, message.error["code"]) == ("failed", "internal")


async def test_raw_responses_are_stored_unabridged_and_in_order(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {
        "zeta": {"b": 1, "a": [None, True, -0.5, 1e-7]},
        "alpha": "NUL \x00, half \ud83d, whole \U0001f600, é, \u2028",
        "big": 2**70,
        "empty": {},
    }
    monkeypatch.setattr("worker.model.recording.dump", lambda _: odd)
    message = await attempts.run([DONE])
    async with attempts.world.database.read() as db:
        stored = await db.get_one(MessageResponse, message.id)
    (response,) = stored.responses
    assert response["raw"] == odd
    assert list(response["raw"]) == list(odd)
    assert list(response["raw"]["zeta"]) == ["b", "a"]


async def test_the_run_is_forgotten_whatever_breaks(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Ended) -> None:
        raise RuntimeError("the announcer is broken")

    monkeypatch.setattr(attempts, "announce", broken)
    with pytest.raises(RuntimeError, match="the announcer is broken"):
        await attempts.run([DONE])
    assert attempts.runs.keys() == frozenset()


def _once(step: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    left = [step]

    async def run() -> None:
        if left:
            await left.pop()()

    return run
