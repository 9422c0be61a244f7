"""The listener for signals about a worker's messages: one has ended, one is watched."""

from uuid import UUID

from shared.channels import Channel, Topic
from shared.database import Database, DatabaseAway
from shared.logging import get_logger
from shared.store import events
from worker.recorder import Recorder
from worker.runs import Runs, StopReason

_log = get_logger(__name__)


class SignalListener:
    """Stop runs early and let watched runs report; the heartbeat finds ended messages too."""

    def __init__(
        self,
        database: Database,
        channel: Channel,
        runs: Runs,
        recorder: Recorder,
        *,
        worker_id: UUID,
    ) -> None:
        self._database = database
        self._channel = channel
        self._runs = runs
        self._recorder = recorder
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
                    self._recorder.watch(ids)
                case Topic.WATCHED:  # just (re)connected
                    await self._catch_up()

    async def _catch_up(self) -> None:
        try:
            async with self._database.read() as db:
                wanted = await events.wanted_of(db, self._worker_id)
        except (DatabaseAway, OSError) as error:
            _log.info("the database is away: some runs do not report", error=type(error).__name__)
            return
        self._recorder.watch(wanted)
