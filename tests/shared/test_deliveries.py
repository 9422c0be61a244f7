"""Deliveries are taken by one worker at a time, and by another one when its lease has run out."""

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID

import pytest

from shared.database import Database
from shared.dialects import clock
from shared.errors import DeliveryNotFound
from shared.store import deliveries, webhooks
from shared.store.deliveries import DeliveryAttempt
from shared.tables import Delivery, DeliveryStatus, Webhook
from tests.shared.world import ON_POSTGRESQL, World


async def answered(world: World, times: int = 1) -> tuple[Webhook, list[UUID]]:
    """Have messages of a project with a webhook answered; list the deliveries, oldest first."""
    session = await world.session()
    webhook = await world.webhook(session.project_id)
    for _ in range(times):
        await world.answer(session)
    return webhook, [delivery.id for delivery in reversed(await world.deliveries(webhook))]


async def due(world: World, *, at_once: int = 10, limit: int = 100, **options: Any) -> list[UUID]:
    async with world.database.read() as db:
        return list(await deliveries.due(db, at_once=at_once, limit=limit, **options))


async def take(
    world: World, ids: Collection[UUID], *, lease_s: float = 60
) -> list[DeliveryAttempt]:
    async with world.database.begin() as db:
        return await deliveries.take(db, ids, lease_s=lease_s)


async def record(world: World, tried: DeliveryAttempt, status: str, **values: float) -> Delivery:
    async with world.database.begin() as db:
        await deliveries.record(
            db, tried, DeliveryStatus(status), http_status=500, error=None, **values
        )
    async with world.database.read() as db:
        return await db.get_one(Delivery, tried.id)


async def test_deliveries_are_due_the_longest_first_as_many_as_their_webhooks_have_room_for(
    world: World,
) -> None:
    first, ids = await answered(world, 3)
    second, more = await answered(world)
    assert await due(world) == [*ids, *more]
    assert await due(world, limit=2) == ids[:2]
    assert await due(world, but_of=[first.id]) == more
    assert await due(world, but_of=[first.id, second.id]) == []
    assert await due(world, of=[first.id]) == ids
    assert await due(world, of=[]) == []
    assert await due(world, at_once=2) == [*ids[:2], *more]
    assert await due(world, at_once=2, limit=1) == ids[:1]
    assert await due(world, at_once=2, running={first.id: 1}) == [ids[0], *more]
    assert await due(world, at_once=2, running={first.id: 1, second.id: 2}) == ids[:1]
    assert await due(world, at_once=2, running={first.id: 3}) == more
    await world.change(Delivery, ids[0], next_at=clock() + 60)
    assert await due(world) == [*ids[1:], *more]


async def test_who_takes_a_delivery_has_all_that_it_needs_and_nobody_else_has_it(
    world: World,
) -> None:
    webhook, ids = await answered(world)
    [tried] = await take(world, ids)
    assert (tried.url, tried.secret, tried.tries) == (webhook.url, webhook.secret, 1)
    assert tried.message.reply == "reply to hi"
    assert await take(world, ids) == []
    assert await due(world) == []


@ON_POSTGRESQL
async def test_workers_that_take_at_once_share(world: World) -> None:
    _, ids = await answered(world, 4)
    others = [Database(world.settings, name="other") for _ in range(3)]
    taken = await asyncio.gather(*(take(World(other, world.settings), ids) for other in others))
    assert sorted(tried.id for some in taken for tried in some) == sorted(ids)
    for other in others:
        await other.close()


async def test_when_a_lease_has_run_out_it_is_due_again_and_the_late_record_changes_nothing(
    world: World,
) -> None:
    _, ids = await answered(world)
    [lost] = await take(world, ids, lease_s=-1)
    [again] = await take(world, ids)
    assert again.tries == 2
    assert (await record(world, lost, "given_up")).status == "pending"
    delivered = await record(world, again, "delivered")
    assert (delivered.status, delivered.http_status) == ("delivered", 500)
    assert delivered.delivered_at
    assert (await record(world, again, "pending")).status == "delivered", "nothing follows the end"


async def test_a_failed_try_is_due_again_later(world: World) -> None:
    _, ids = await answered(world)
    [tried] = await take(world, ids)
    await record(world, tried, "pending", again_in_s=60)
    assert await due(world) == []
    await record(world, tried, "pending", again_in_s=-1)
    assert await due(world) == ids


async def test_how_long_deliveries_wait_is_known(world: World) -> None:
    async with world.database.read() as db:
        assert await deliveries.overdue_s(db) == 0
    _, ids = await answered(world, 2)
    await world.change(Delivery, ids[0], next_at=clock() - 100)
    async with world.database.read() as db:
        assert await deliveries.overdue_s(db) == pytest.approx(100, abs=10)


async def test_a_delivery_that_was_given_up_is_sent_anew_when_somebody_asks(world: World) -> None:
    webhook, ids = await answered(world)
    [tried] = await take(world, ids)
    await record(world, tried, "given_up")
    assert await due(world) == []
    async with world.database.begin() as db:
        assert (await webhooks.retry(db, webhook.id, ids[0])).tries == 0
    [again] = await take(world, ids)
    async with world.database.begin() as db:
        pending = await webhooks.retry(db, webhook.id, again.id)
    assert (pending.status, pending.tries) == ("pending", 1), "somebody is just trying it"


async def test_another_webhooks_delivery_is_none_of_this_one(world: World) -> None:
    _, ids = await answered(world)
    other, _ = await answered(world)
    async with world.database.begin() as db:
        with pytest.raises(DeliveryNotFound):
            await webhooks.retry(db, other.id, ids[0])
