"""The step after a transition's commit: publish the ended ids, enqueue what is next."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from shared.channels import Channel, Topic
from shared.metrics import count_ended
from shared.queue import TaskSender
from shared.store.transitions import Ended


class Announcer:
    """Publish ended messages, stop their runs and enqueue the next messages, in this order.

    `on_outbox` wakes this process's dispatcher after a transition that left deliveries.
    """

    def __init__(
        self, channel: Channel, sender: TaskSender, *, on_outbox: Callable[[], None] | None = None
    ) -> None:
        self._channel = channel
        self._sender = sender
        self._on_outbox = on_outbox

    @property
    def broker_lost(self) -> bool:
        """Tell whether no task reaches a worker at the moment."""
        return self._sender.broker_lost

    async def announce(self, ended: Ended) -> dict[UUID, "asyncio.Future[bool]"]:
        """Announce a committed transition; map each enqueued message to whether its task was sent.

        A crash before or in here loses nothing: clients ask the database, the sweep enqueues again.
        """
        count_ended(ended.codes)
        await self._channel.publish(Topic.ENDED, ended.ids)
        await self._channel.publish(Topic.STOPPED, ended.stopped)
        if ended.has_outbox and self._on_outbox:
            self._on_outbox()
        return {next_id: self._sender.enqueue_message(next_id) for next_id in ended.ready}
