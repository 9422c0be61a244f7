"""What a worker hears of its messages: that one need not be run on, that one is watched."""

from uuid import UUID

from shared.channels import Channel, Topic
from shared.database import Database, DatabaseAway
from shared.logging import get_logger
from shared.store import events
from worker.events import EventWriter
from worker.runs import Runs, StopReason

_log = get_logger(__name__)


class Ears:
    """Listen for what makes runs cheaper or better told; the heartbeat finds out without it."""

    def __init__(
        self,
        database: Database,
        channel: Channel,
        runs: Runs,
        writer: EventWriter,
        *,
        worker_id: UUID,
    ) -> None:
        self._database = database
        self._channel = channel
        self._runs = runs
        self._writer = writer
        self._worker_id = worker_id

    async def listen(self) -> None:
        """Listen until cancelled."""
        async for topic, ids in self._channel.listen(Topic.STOPPED, Topic.WATCHED):
            match topic:
                case Topic.STOPPED:
                    known = self._runs.keys() if ids else ()
                    lost = [key for key in known if key[0] in ids]
                    self._runs.stop(lost, StopReason.LOST)
                case Topic.WATCHED if ids:
                    self._writer.watch(ids)
                case Topic.WATCHED:  # just (re)connected
                    await self._catch_up()

    async def _catch_up(self) -> None:
        try:
            async with self._database.read() as db:
                wanted = await events.wanted_of(db, self._worker_id)
        except (DatabaseAway, OSError) as error:
            _log.info("the database is away: some runs are not told", error=type(error).__name__)
            return
        self._writer.watch(wanted)
