"""The outbox reaches its receivers: later if they are down, and in spite of slow ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from shared.database import Database
from shared.dialects import clock
from shared.tables import Delivery, DeliveryStatus, Webhook
from tests.services import free_port
from tests.shared.world import ON_SQLITE, World
from tests.webhook_sink import WebhookSink, webhook_sink
from tests.worker.test_webhook_client import delivery_to
from worker.webhooks.client import Answer
from worker.webhooks.dispatcher import WebhookDispatcher, delay_s, next_status

DAY_S = 86_400
_TRIES = 14


@pytest.fixture
def sinks() -> Iterator[Callable[[], WebhookSink]]:
    """Give a maker of sinks."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(webhook_sink())


@asynccontextmanager
async def delivering(
    world: World, database: Database | None = None
) -> AsyncIterator[WebhookDispatcher]:
    """Let a worker deliver while the context is open."""
    dispatcher = WebhookDispatcher(database or world.database, private=True)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def answered(world: World, url: str, *, times: int = 1) -> Webhook:
    """Have messages of a project answered whose ends that address is told."""
    session = await world.session()
    webhook = await world.webhook(session.project_id, url=url)
    for _ in range(times):
        await world.answer(session)
    return webhook


async def until(
    world: World, webhook: Webhook, holds: Callable[[Delivery], bool]
) -> list[Delivery]:
    """Wait until something holds of all of a webhook's deliveries."""
    async with asyncio.timeout(10):
        while True:
            found = await world.deliveries(webhook)
            if found and all(map(holds, found)):
                return list(found)
            await asyncio.sleep(0.01)


def delivered(delivery: Delivery) -> bool:
    return delivery.status == "delivered"


def given_up(delivery: Delivery) -> bool:
    return delivery.status == "given_up"


def failed_once(delivery: Delivery) -> bool:
    return delivery.http_status == 503


def tried(times: int) -> Callable[[Delivery], bool]:
    """Say that the outcome of a try is recorded; while it goes on the one before is there."""
    words = {1: ("unreachable", "internal"), 2: (503,)}
    return lambda it: it.tries == times and (it.error or it.http_status) in words[times]


async def test_what_ended_before_and_while_a_worker_is_there_is_delivered_once(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    sink = sinks()
    before = await answered(world, sink.url, times=2)
    async with delivering(world) as dispatcher:
        await until(world, before, delivered)
        after = await answered(world, sink.url)
        dispatcher.wake()
        [delivery] = await until(world, after, delivered)
    assert (delivery.tries, delivery.http_status, delivery.error) == (1, 204, None)
    assert len({post.id for post in sink.posts}) == len(sink.posts) == 3
    assert sink.posts[-1].is_signed_with(after.secret)


@ON_SQLITE
async def test_a_wake_is_faster_than_looking(
    world: World, sinks: Callable[[], WebhookSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.webhooks.dispatcher._POLL_S", 60)
    async with delivering(world) as dispatcher:
        await asyncio.sleep(0.1)  # it has looked
        webhook = await answered(world, sinks().url)
        await asyncio.sleep(0.1)
        assert not any(map(delivered, await world.deliveries(webhook)))
        dispatcher.wake()
        await until(world, webhook, delivered)


@ON_SQLITE
async def test_a_receiver_that_was_down_gets_it_later_under_the_same_id(world: World) -> None:
    port = free_port()
    webhook = await answered(world, f"http://127.0.0.1:{port}/hook")
    async with delivering(world) as dispatcher:
        [down] = await until(world, webhook, tried(1))
        assert (down.status, down.error) == ("pending", "unreachable")
        with webhook_sink(port=port) as sink:
            sink.status = 503
            await again(world, dispatcher, down)
            [busy] = await until(world, webhook, tried(2))
            assert (busy.status, busy.http_status, busy.error) == ("pending", 503, None)
            sink.status = 200
            await again(world, dispatcher, down)
            await until(world, webhook, delivered)
            first, second = sink.posts
    assert first.id == second.id == str(down.id)
    assert first.body == second.body


async def again(world: World, dispatcher: WebhookDispatcher, delivery: Delivery) -> None:
    """Let the time of a delivery's next try have come."""
    await world.change(Delivery, delivery.id, next_at=clock())
    dispatcher.wake()


@ON_SQLITE
async def test_a_slow_receiver_does_not_hold_up_the_others(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    slow, quick = sinks(), sinks()
    slow.go_on.clear()
    waiting = await answered(world, slow.url, times=12)
    webhook = await answered(world, quick.url)
    async with delivering(world):
        await until(world, webhook, delivered)
        assert not any(map(delivered, await world.deliveries(waiting)))
        await asyncio.to_thread(slow.wait, 4)
        assert len(slow.posts) == 4, "and is not flooded"
        slow.go_on.set()
        await until(world, waiting, delivered)
    assert len(slow.posts) == 12


@ON_SQLITE
async def test_many_receivers_that_never_answer_leave_room_for_the_others(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    bad, good = sinks(), sinks()
    bad.status = 503
    webhooks = [await answered(world, bad.url) for _ in range(18)]
    async with delivering(world) as dispatcher:
        failed = [it for webhook in webhooks for it in await until(world, webhook, failed_once)]
        silence(bad)
        for delivery in failed:
            await again(world, dispatcher, delivery)
        await asyncio.to_thread(bad.wait, 16)
        await until(world, await answered(world, good.url), delivered)
        assert len(bad.posts) == 16, "half of the room, one for each"
        bad.go_on.set()


@ON_SQLITE
async def test_a_receiver_that_failed_gets_one_at_a_time_until_it_takes_one(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    sink = sinks()
    sink.status = 503
    webhook = await answered(world, sink.url, times=8)
    async with delivering(world) as dispatcher:
        failed = await until(world, webhook, failed_once)
        silence(sink)
        sink.status = 204
        for delivery in failed:
            await again(world, dispatcher, delivery)
        await asyncio.to_thread(sink.wait, 1)
        await asyncio.sleep(0.2)
        assert len(sink.posts) == 1
        sink.go_on.set()
        await until(world, webhook, delivered)
        silence(sink)
        for delivery in failed:
            await world.change(Delivery, delivery.id, status=DeliveryStatus.PENDING)
            await again(world, dispatcher, delivery)
        await asyncio.to_thread(sink.wait, 4)
        await asyncio.sleep(0.2)
        assert len(sink.posts) == 4
        sink.go_on.set()


def silence(sink: WebhookSink) -> None:
    """Let a sink take what comes, and not answer."""
    sink.go_on.clear()
    sink.posts.clear()


@ON_SQLITE
async def test_410_ends_it_and_the_log_names_the_delivery_but_no_address(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    sink = sinks()
    sink.status = 410
    webhook = await answered(world, sink.url + "?token=secret")
    with capture_logs() as logs:
        async with delivering(world):
            [delivery] = await until(world, webhook, given_up)
    assert delivery.http_status == 410
    [line] = logs
    assert (line["event"], line["delivery_id"]) == ("delivery given up", str(delivery.id))
    assert "secret" not in str(line)
    assert webhook.secret not in str(line)


@ON_SQLITE
async def test_what_somebody_else_has_is_left_alone_until_the_lease_has_run_out(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    sink = sinks()
    webhook = await answered(world, sink.url)
    [delivery] = await world.deliveries(webhook)
    await world.change(Delivery, delivery.id, tries=1, next_at=clock() + 60)
    async with delivering(world) as dispatcher:
        await asyncio.sleep(0.2)
        assert sink.posts == []
        await again(world, dispatcher, delivery)
        [delivery] = await until(world, webhook, delivered)
    assert delivery.tries == 2


@ON_SQLITE
async def test_a_defect_is_a_failed_try_and_the_next_delivery_goes_on(
    world: World, sinks: Callable[[], WebhookSink]
) -> None:
    webhook = await answered(world, sinks().url)
    await world.change(Webhook, webhook.id, secret="whsec_not base64!")
    good = await answered(world, sinks().url)
    with capture_logs() as logs:
        async with delivering(world):
            [failed] = await until(world, webhook, tried(1))
            await until(world, good, delivered)
    assert (failed.status, failed.error) == ("pending", "internal")
    assert [log["event"] for log in logs] == ["delivery failed"]


@ON_SQLITE
async def test_a_database_that_is_away_is_waited_for(
    world: World, sinks: Callable[[], WebhookSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await answered(world, sinks().url)
    errors = [OSError, RuntimeError]
    read = world.database.read

    def broken() -> object:
        if errors:
            raise errors.pop(0)
        return read()

    other = Database(world.settings, name="other")
    monkeypatch.setattr(other, "read", broken)
    with capture_logs() as logs:
        async with delivering(world, other) as dispatcher:
            while errors:
                dispatcher.wake()
                await asyncio.sleep(0.01)
            dispatcher.wake()
            await until(world, webhook, delivered)
    assert [log["log_level"] for log in logs] == ["info", "error"]
    await other.close()


def test_it_is_tried_for_about_a_day_and_then_given_up() -> None:
    delays = [delay_s(tries) for tries in range(1, _TRIES)]
    assert 4 <= delays[0] <= 6
    assert 0.8 * DAY_S < sum(delays) < 1.3 * DAY_S
    last = delivery_to("https://example.com/")
    for tries, status in ((1, "pending"), (_TRIES - 1, "pending"), (_TRIES, "given_up")):
        assert next_status(replace(last, tries=tries), Answer(http_status=500)) == status
        assert next_status(replace(last, tries=tries), Answer(error="timeout")) == status
        assert next_status(replace(last, tries=tries), Answer(http_status=302)) == status
        assert next_status(replace(last, tries=tries), Answer(http_status=202)) == "delivered"
        assert next_status(replace(last, tries=tries), Answer(http_status=410)) == "given_up"
