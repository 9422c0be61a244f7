"""What a run reports of itself, kept until it is stored; and the one who stores it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.channels import Channel, Topic
from shared.database import Database, DatabaseAway, retried
from shared.logging import get_logger
from shared.store import events
from shared.store.events import Batch, RunEvent
from shared.store.transitions import Claim
from shared.tables import EventKind

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.4
_PAUSE_FOR_ONE_S = 0.04
_AT_ONCE = 50
_REMEMBERED = 1000
_log = get_logger(__name__)


@dataclass
class _Report:
    """Something that happened; `data` may be a function, for what nobody may want to know."""

    kind: EventKind
    data: dict[str, Any] | Callable[[], dict[str, Any]]
    at: float = field(default_factory=time.time)


class RunEvents:
    """What one attempt reports; numbered from its claim on, once somebody watches.

    A number is given once and stays, so that what may have been stored can be stored again.
    """

    def __init__(self, claim: Claim, *, wake: Callable[[], None]) -> None:
        self.message_id = claim.message_id
        self.streamed = claim.streamed
        self._attempt = claim.attempt
        self._number = claim.event_count
        self._wake = wake
        self._reports: list[_Report] = []
        self._unstored: list[RunEvent] = []

    def wrote(self, text: str, *, call: int) -> None:
        """Report text of a call of the model; a piece is joined to the one before it."""
        last = self._reports[-1] if self._reports else None
        data = last.data if last and last.kind is EventKind.TEXT else None
        if isinstance(data, dict) and data["call"] == call:
            data["pieces"].append(text)
        else:
            self.happened(EventKind.TEXT, {"call": call, "pieces": [text]})

    def happened(
        self, kind: EventKind, data: dict[str, Any] | Callable[[], dict[str, Any]]
    ) -> None:
        """Report something."""
        self._reports.append(_Report(kind, data))
        if self.streamed:
            self._wake()

    def watch(self) -> None:
        """Let be told from now on what happened, from the beginning of the attempt."""
        self.streamed = True
        self._wake()

    def batch(self) -> Batch | None:
        """Return what is not known to be stored; None: nothing, or nobody watches."""
        if not self.streamed:
            return None
        reports, self._reports = self._reports, []
        for report in reports:
            self._number += 1
            data = _rendered(report)
            self._unstored.append(RunEvent(self._number, report.kind, data, report.at))
        if not self._unstored:
            return None
        return Batch(self.message_id, self._attempt, tuple(self._unstored))

    def stored(self, batch: Batch) -> None:
        """Forget what is in the database."""
        self._unstored = [event for event in self._unstored if event.seq > batch.last]


def _rendered(report: _Report) -> dict[str, Any]:
    data = report.data() if callable(report.data) else report.data
    if report.kind is EventKind.TEXT:
        return {"call": data["call"], "text": "".join(data["pieces"])}
    return data


class EventWriter:
    """Store what this process's runs report, for all of them together, some times a second."""

    def __init__(self, database: Database, channel: Channel) -> None:
        self._database = database
        self._channel = channel
        self._runs: dict[UUID, RunEvents] = {}
        self._news: set[UUID] = set()
        self._watched: OrderedDict[UUID, None] = OrderedDict()
        self._woken = asyncio.Event()

    def begin(self, claim: Claim) -> RunEvents:
        """Take in the reports of an attempt, and tell watchers that it begins."""
        run = RunEvents(claim, wake=self._woken.set)
        self._runs[claim.message_id] = run
        if claim.streamed:
            self._news.add(claim.message_id)
            self._woken.set()
        elif claim.message_id in self._watched:  # somebody was faster than this process
            run.watch()
        return run

    def end(self, run: RunEvents) -> None:
        """Take in no more: the attempt's end has stored what was left."""
        if self._runs.get(run.message_id) is run:
            del self._runs[run.message_id]

    def watch(self, message_ids: Iterable[UUID]) -> None:
        """Let runs report from now on; also those that begin in a moment."""
        for message_id in message_ids:
            if run := self._runs.get(message_id):
                run.watch()
            self._watched[message_id] = None
        while len(self._watched) > _REMEMBERED:
            self._watched.popitem(last=False)

    async def run(self) -> None:
        """Store and tell until cancelled: at once what comes after a pause."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            pause = _LONGEST_PAUSE_S
            try:
                pause = pause_s(await self._store_all())
            except (DatabaseAway, OSError) as error:
                _log.info("the database is away, events are late", error=type(error).__name__)
                self._woken.set()
            await asyncio.sleep(pause)

    async def _store_all(self) -> int:
        """Store what there is and tell who watches; return of how many messages there is news."""
        found = [(run, batch) for run in self._runs.values() if (batch := run.batch())]
        for first in range(0, len(found), _AT_ONCE):
            some = found[first : first + _AT_ONCE]
            await self._store([batch for _, batch in some])
            for run, batch in some:
                run.stored(batch)
                self._news.add(run.message_id)
        news, self._news = self._news, set()
        await self._channel.publish(Topic.EVENTS, news)
        return len(news)

    @retried
    async def _store(self, batches: list[Batch]) -> None:
        async with self._database.begin() as db:
            await events.append(db, batches)


def pause_s(messages: int) -> float:
    """Choose when to tell of news again: the later, the more messages there was news of."""
    return max(_SHORTEST_PAUSE_S, min(_PAUSE_FOR_ONE_S * messages, _LONGEST_PAUSE_S))
