"""Each end of a message leaves what its project's webhooks are told, in the same transaction."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import update

from shared.database import Database
from shared.dialects import clock
from shared.errors import FailureCode, WebhookNotFound, WebhooksFull
from shared.store import dispatch, messages, retention, transitions, webhooks
from shared.store.transitions import Ended, LeaseLost, RevisionConflict
from shared.store.types import Overdue
from shared.tables import Delivery, Message, Project, VibeSession, Webhook
from tests.shared.world import ON_POSTGRESQL, OWNER, World, draft, outcome

End = Callable[[World, VibeSession], Awaitable[Ended]]


async def complete(world: World, session: VibeSession) -> Ended:
    return await world.complete(await world.claimed(session))


async def fail(world: World, session: VibeSession) -> Ended:
    return await world.fail(await world.claimed(session))


async def cancel_queued(world: World, session: VibeSession) -> Ended:
    return await world.cancel((await world.accept(session)).message.id)


async def cancel_running(world: World, session: VibeSession) -> Ended:
    return await world.cancel((await world.claimed(session)).message_id)


async def withdraw(world: World, session: VibeSession) -> Ended:
    sent = (await world.accept(session)).message
    async with world.database.begin() as db:
        message = await messages.get(db, sent.id, owner=OWNER)
        return await transitions.withdraw(db, message, limit=world.cap)


async def roll_back(world: World, session: VibeSession) -> Ended:
    await world.accept(session)
    return (await world.accept_draft(session.id, draft("b", on_busy="rollback"))).ended


async def clear(world: World, session: VibeSession) -> Ended:
    await world.accept(session)
    return await world.clear(session)


async def delete_project(world: World, session: VibeSession) -> Ended:
    await world.accept(session)
    async with world.database.read() as db:
        project = await db.get_one(Project, session.project_id)
    return await world.delete(project)


async def expire(world: World, session: VibeSession) -> Ended:
    sent = (await world.accept(session)).message
    await world.change(Message, sent.id, queued_at=clock() - 1000)
    async with world.database.begin() as db:
        found = Overdue(sent.id, session.id)
        return await transitions.expire(db, found, queue_timeout_s=600, limit=world.cap)


async def lose_workers(world: World, session: VibeSession) -> Ended:
    message = (await world.accept(session)).message
    for _ in range(world.settings.max_lost):
        await world.claim(message, await world.worker(lease_s=-1))
    ended = await world.try_claim(message.id, await world.worker())
    assert isinstance(ended, Ended)
    assert ended.codes == (FailureCode.WORKER_LOST,)
    return ended


ENDINGS: list[tuple[End, str]] = [
    (complete, "completed"),
    (fail, "failed"),
    (cancel_queued, "cancelled"),
    (cancel_running, "cancelled"),
    (withdraw, "cancelled"),
    (roll_back, "cancelled"),
    (clear, "cancelled"),
    (delete_project, "cancelled"),
    (expire, "failed"),
    (lose_workers, "failed"),
]


async def test_every_end_is_told_once_to_each_webhook_that_wants_it(world: World) -> None:
    for end, status in ENDINGS:
        session = await world.session()
        wants = [
            await world.webhook(session.project_id),
            await world.webhook(session.project_id, status),
        ]
        others = {"completed", "failed", "cancelled"} - {status}
        wants_not = [
            await world.webhook(session.project_id, *others),
            await world.webhook((await world.project()).id),
        ]
        ended = await end(world, session)
        assert ended.has_outbox, end
        for webhook in wants:
            [delivery] = await world.deliveries(webhook)
            assert (delivery.message_id, delivery.status) == (ended.ids[0], "pending"), end
        assert [await world.deliveries(webhook) for webhook in wants_not] == [[], []], end
        assert not (await end(world, await world.session())).has_outbox, "nobody asked there"
        assert (await world.message(ended.ids[0])).status == status


async def test_all_messages_that_end_together_are_told_with_ids_of_their_own(world: World) -> None:
    session = await world.session()
    webhook = await world.webhook(session.project_id)
    sent = [(await world.accept(session)).message.id for _ in range(3)]
    await world.clear(session)
    told = await world.deliveries(webhook)
    assert {delivery.message_id for delivery in told} == set(sent)
    assert len({delivery.id for delivery in told}) == 3


async def test_what_does_not_end_a_message_tells_nobody(world: World) -> None:
    session = await world.session()
    webhook = await world.webhook(session.project_id)
    claim = await world.claimed(session)
    await world.release(claim)
    again = await world.run_again(await world.claim(claim.message_id))
    with pytest.raises(LeaseLost):
        await world.complete(claim)
    assert await world.deliveries(webhook) == []
    await world.complete(again)
    assert not (await world.cancel(claim.message_id)).has_outbox
    assert len(await world.deliveries(webhook)) == 1


async def test_an_end_that_is_rolled_back_leaves_nothing(world: World) -> None:
    session = await world.session()
    webhook = await world.webhook(session.project_id)
    claim, other = (
        await world.claimed(session),
        await world.claimed(await world.session(await _project(world, session))),
    )

    async def complete_and_break() -> None:
        async with world.database.begin() as db:
            ended = await transitions.complete(db, claim, outcome(claim), [], limit=1)
            assert ended.has_outbox
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await complete_and_break()
    await world.complete(other, code="x = 1\n")
    with pytest.raises(RevisionConflict):
        await world.complete(claim, code="x = 2\n")
    [delivery] = await world.deliveries(webhook)
    assert delivery.message_id == other.message_id


async def _project(world: World, session: VibeSession) -> Project:
    async with world.database.read() as db:
        return await db.get_one(Project, session.project_id)


async def test_what_a_webhook_or_a_message_leaves_goes_with_it(world: World) -> None:
    session = await world.session()
    gone, stays = [await world.webhook(session.project_id) for _ in range(2)]
    await world.answer(session)
    assert await world.count(Delivery) == 2
    async with world.database.begin() as db:
        await webhooks.remove(db, await webhooks.get(db, gone.id, owner=OWNER))
    assert (await world.count(Webhook), await world.count(Delivery)) == (1, 1)
    async with world.database.begin() as db:
        await db.execute(update(VibeSession).values(created_at=1.0))
        await db.execute(update(Message).values(ended_at=1.0))
    async with world.database.begin() as db:
        assert (await retention.delete_sessions(db, [session.id], unused_s=60)).sessions == 1
    assert (await world.count(Webhook), await world.count(Delivery)) == (1, 0)
    assert await world.deliveries(stays) == []


async def test_a_deleted_projects_webhooks_are_not_found_and_purged_with_it(world: World) -> None:
    session = await world.session()
    webhook = await world.webhook(session.project_id)
    await world.accept(session)
    await world.delete(await _project(world, session))
    assert len(await world.deliveries(webhook)) == 1, "it is still told of the end"
    async with world.database.begin() as db:
        with pytest.raises(WebhookNotFound):
            await webhooks.get(db, webhook.id, owner=OWNER)
        await dispatch.purge_projects(db, deleted_before_s=-1)
    assert (await world.count(Webhook), await world.count(Delivery)) == (0, 0)


async def test_a_project_has_only_so_many_webhooks(world: World) -> None:
    project = await world.project()
    for _ in range(webhooks.MOST_OF_A_PROJECT):
        await world.webhook(project.id)
    with pytest.raises(WebhooksFull, match="10 webhooks"):
        await world.webhook(project.id)


@ON_POSTGRESQL
async def test_a_webhook_that_is_just_being_deleted_prevents_no_end(world: World) -> None:
    session = await world.session()
    webhook = await world.webhook(session.project_id)
    claim = await world.claimed(session)
    other = Database(world.settings, name="other")
    async with world.database.begin() as db:
        await webhooks.remove(db, webhook)
        ending = asyncio.create_task(World(other, world.settings).complete(claim))
        await asyncio.sleep(0.2)  # it waits for the webhook's lock
        assert not ending.done()
    await ending
    await other.close()
    assert (await world.message(claim.message_id)).status == "completed"
    assert await world.count(Delivery) == 0
