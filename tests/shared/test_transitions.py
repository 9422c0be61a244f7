"""Commit 3 and its fence: everything or nothing, and nothing of an attempt that lost its lease."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from shared.dialects import insert_new
from shared.store import projects, records, transitions
from shared.store.transitions import Claim, Ended, LeaseLost, RevisionConflict
from shared.tables import (
    Attempt,
    Item,
    Message,
    MessageResponse,
    ModelCall,
    Project,
    Revision,
    VibeSession,
)
from shared.workflow.text import EMPTY_WORKFLOW
from tests.shared.world import OWNER, Spent, World, outcome, said

NEW_CODE = EMPTY_WORKFLOW + "\nanswer = 42\n"


async def test_a_completed_message_shows_reply_memory_code_and_response_together(
    world: World,
) -> None:
    project = await world.project()
    session = await world.session(project)
    claim = await world.claimed(session, "add it")
    await world.complete(claim, code=NEW_CODE)
    stored = await world.message(claim.message_id)
    assert (stored.status, stored.reply, stored.revision) == ("completed", "reply to add it", 2)
    assert "+answer = 42" in stored.diff
    assert stored.ended_at is not None
    assert await world.items(session) == said("add it", "reply to add it")
    async with world.database.read() as db:
        changed = await projects.get(db, project.id, owner=OWNER)
        revision = await projects.revision(db, project.id, number=2)
        response = await db.get_one(MessageResponse, claim.message_id)
    assert (changed.code, changed.revision) == (NEW_CODE, 2)
    assert (revision.code, revision.message_id) == (NEW_CODE, claim.message_id)
    assert response.responses == [{"id": str(claim.message_id)}]
    assert await world.attempts(claim.message_id) == ["completed"]
    assert await world.count(ModelCall) == 1


async def test_a_plain_answer_makes_no_revision(world: World) -> None:
    claim = await world.answer(await world.session())
    stored = await world.message(claim.message_id)
    assert (stored.diff, stored.revision) == ("", None)
    assert await world.count(Revision) == 1


async def test_positions_go_on_from_message_to_message_and_counters_with_them(
    world: World,
) -> None:
    session = await world.session()
    await world.answer(session, "a")
    empty = await world.claimed(session)
    await world.complete(empty, items=[])
    last = await world.claimed(session)
    await world.complete(last, items=said("b", "c", "d"))
    assert await world.positions(session) == [(1, n) for n in range(5)]
    stored = await world.stored_session(session)
    assert (stored.item_count, stored.last_message_id) == (5, last.message_id)


async def test_a_failed_message_leaves_nothing_but_its_record(world: World) -> None:
    session = await world.session()
    claim = await world.claimed(session)
    following = (await world.accept(session)).message
    ended = await world.fail(claim)
    assert ended == Ended(ids=(claim.message_id,), ready=(following.id,))
    assert ended.codes == ("model_error",)
    stored = await world.message(claim.message_id)
    assert stored.error is not None
    assert (stored.status, stored.error["code"], stored.reply) == ("failed", "model_error", None)
    assert await world.count(Item) == await world.count(MessageResponse) == 0
    assert await world.attempts(claim.message_id) == ["failed"]
    assert await world.count(ModelCall) == 1


async def test_a_released_message_waits_again_unharmed(world: World) -> None:
    session = await world.session()
    claim = await world.claimed(session)
    before = await world.message(claim.message_id)
    ended = await world.release(claim)
    assert ended == Ended(ready=(claim.message_id,))
    stored = await world.message(claim.message_id)
    assert (stored.status, stored.worker_id, stored.lost_count) == ("queued", None, 0)
    assert stored.queued_at > before.queued_at
    assert (await world.claim(stored)).attempt == 2
    assert await world.attempts(claim.message_id) == ["released", None]


async def test_a_conflict_begins_the_next_attempt_on_the_new_code(world: World) -> None:
    project = await world.project()
    mine = await world.claimed(await world.session(project))
    theirs = await world.claimed(await world.session(project))
    await world.complete(theirs, code=NEW_CODE)
    again = await world.run_again(mine)
    assert (again.attempt, again.conflict_count) == (2, 1)
    assert (again.code, again.revision) == (NEW_CODE, 2)
    assert (await world.message(mine.message_id)).status == "in_progress"
    assert await world.attempts(mine.message_id) == ["conflict", None]
    with pytest.raises(LeaseLost):
        await world.complete(mine)


async def test_the_attempt_after_a_conflict_has_not_waited_for_a_worker(world: World) -> None:
    mine = await world.claimed()
    assert (await world.run_again(mine)).waited_s == 0


async def test_code_that_moved_is_told_and_nothing_is_kept(world: World) -> None:
    project = await world.project()
    mine = await world.claimed(await world.session(project))
    await world.complete(await world.claimed(await world.session(project)), code=NEW_CODE)
    with pytest.raises(RevisionConflict) as moved:
        await world.complete(mine, code=EMPTY_WORKFLOW + "\nmine = 1\n")
    assert (moved.value.code, moved.value.revision) == (NEW_CODE, 2)
    assert (await world.message(mine.message_id)).status == "in_progress"
    assert await world.items(await world.session(project)) == []
    await world.complete(mine)  # without a change of the code nothing is in the way


async def test_after_its_own_commit_an_attempt_hears_of_the_fence_not_of_moved_code(
    world: World,
) -> None:
    claim = await world.claimed()
    await world.complete(claim, code=NEW_CODE)
    with pytest.raises(LeaseLost):
        await world.complete(claim, code=NEW_CODE)
    assert await world.count(Revision) == 2


async def test_the_database_itself_refuses_a_second_commit_of_the_same_place(
    world: World,
) -> None:
    session = await world.session()
    claim = await world.answer(session)
    await world.change(Message, claim.message_id, status="in_progress")
    await world.change(VibeSession, session.id, item_count=0)
    with pytest.raises(IntegrityError):
        await world.complete(claim)
    assert len(await world.items(session)) == 2


async def _cancelled(world: World, session: VibeSession, claim: Claim) -> None:
    await world.cancel(claim.message_id)


async def _rolled_back(world: World, session: VibeSession, claim: Claim) -> None:
    await world.accept(session, on_busy="rollback")


async def _cleared(world: World, session: VibeSession, claim: Claim) -> None:
    await world.clear(session)


async def _taken_over(world: World, session: VibeSession, claim: Claim) -> None:
    stored = await world.message(claim.message_id)
    assert stored.worker_id is not None
    await world.renew(stored.worker_id, lease_s=-1)
    await world.claim(claim.message_id)


async def _deleted(world: World, session: VibeSession, claim: Claim) -> None:
    async with world.database.read() as db:
        project = await db.get_one(Project, claim.project_id)
    await world.delete(project)


async def _released(world: World, session: VibeSession, claim: Claim) -> None:
    await world.release(claim)


async def _completed(world: World, session: VibeSession, claim: Claim) -> None:
    await world.complete(claim)


async def _everything(world: World, session: VibeSession) -> list[Any]:
    async with world.database.read() as db:
        rows = []
        for table in (Message, VibeSession, Item, Attempt, MessageResponse, Revision, ModelCall):
            found = await db.execute(table.__table__.select())
            rows += sorted(str(row) for row in found)
        return rows


EVENTS: list[Callable[[World, VibeSession, Claim], Awaitable[None]]] = [
    _cancelled,
    _rolled_back,
    _cleared,
    _taken_over,
    _deleted,
    _released,
    _completed,
]


async def test_a_late_attempt_changes_nothing(world: World) -> None:
    for what_happened in EVENTS:
        session = await world.session()
        claim = await world.claimed(session)
        await what_happened(world, session, claim)
        before = await _everything(world, session)
        late: list[Awaitable[Any]] = [
            world.complete(claim),
            world.complete(claim, code=NEW_CODE),
            world.fail(claim),
            world.release(claim),
            world.run_again(claim),
        ]
        for verb in late:
            with pytest.raises(LeaseLost):
                await verb
        assert await _everything(world, session) == before, what_happened


async def test_a_late_attempts_calls_can_still_be_recorded_once(world: World) -> None:
    claim = await world.claimed()
    await world.cancel(claim.message_id)
    for _ in range(2):
        async with world.database.begin() as db:
            calls = [Spent(1, usage={"total_tokens": 3}), Spent(2, error="Boom")]
            await records.record_calls(db, (claim, calls))
    assert await world.count(ModelCall) == 2


async def test_usage_is_summed_over_the_calls_nested_numbers_too(world: World) -> None:
    claim = await world.claimed()
    usage = {"total_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "tier": "x"}
    async with world.database.begin() as db:
        calls = [Spent(1, usage=usage), Spent(2, usage=None), Spent(3, usage=usage)]
        await transitions.complete(db, claim, outcome(claim), calls, limit=9)
    stored = await world.message(claim.message_id)
    summed = {"total_tokens": 6, "input_tokens_details": {"cached_tokens": 2}}
    assert stored.usage == summed | {"uncounted_calls": 1}


async def test_usage_is_unknown_if_no_call_says_it(world: World) -> None:
    claim = await world.claimed()
    async with world.database.begin() as db:
        calls = [Spent(1, usage=None), Spent(2, usage=None)]
        await transitions.complete(db, claim, outcome(claim), calls, limit=9)
    assert (await world.message(claim.message_id)).usage is None


async def test_what_text_columns_refuse_is_replaced_and_json_keeps_it(world: World) -> None:
    claim = await world.claimed()
    odd: dict[str, Any] = {"zeta": 1, "a": "\x00 \ud800 \U0001f600 é", "big": 10**30, "f": 0.1}
    result = outcome(claim, items=[odd])
    changed = {"reply": "NUL \x00 half \udc00", "responses": [odd], "tool_calls": [odd]}
    await world.complete(claim, type(result)(**{**vars(result), **changed}))
    stored = await world.message(claim.message_id)
    assert stored.reply == "NUL \ufffd half \ufffd"
    async with world.database.read() as db:
        response = await db.get_one(MessageResponse, claim.message_id)
        item = await db.get_one(Item, (claim.session_id, 1, 0))
    for kept in (response.responses[0], response.tool_calls[0], item.item):
        assert kept == odd
        assert list(kept) == list(odd), "keys keep their order"


async def test_an_insert_of_what_is_there_changes_nothing(world: World) -> None:
    session = await world.session()
    async with world.database.begin() as db:
        values = {"id": session.id, "project_id": session.project_id, "openai_session_key": "x"}
        await db.execute(insert_new(VibeSession).values(**values))
    assert (await world.stored_session(session)).openai_session_key != "x"
