"""What follows every transition's commit: tell who waits, and hint the next heads."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from shared.channels import Channel, Topic
from shared.metrics import count_ended
from shared.queue import Hinter
from shared.store.transitions import Ended


class Announcer:
    """Publish ended messages, stop their runs and hint new heads, in this order.

    `on_outbox` is called when webhooks may have to hear of it: by this process, if it delivers.
    """

    def __init__(
        self, channel: Channel, hinter: Hinter, *, on_outbox: Callable[[], None] | None = None
    ) -> None:
        self._channel = channel
        self._hinter = hinter
        self._on_outbox = on_outbox

    @property
    def broker_lost(self) -> bool:
        """Tell whether workers cannot be told of anything at the moment."""
        return self._hinter.broker_lost

    async def announce(self, ended: Ended) -> dict[UUID, "asyncio.Future[bool]"]:
        """Do what a committed transition leaves to be done; map each hint to whether it was sent.

        A crash before or in here loses nothing: clients ask the database, the sweep hints again.
        """
        count_ended(ended.codes)
        await self._channel.publish(Topic.ENDED, ended.ids)
        await self._channel.publish(Topic.STOPPED, ended.stopped)
        if ended.has_outbox and self._on_outbox:
            self._on_outbox()
        return {head: self._hinter.enqueue_message(head) for head in ended.ready}
