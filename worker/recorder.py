"""The recorder: it stores events, calls of the model and spans of the runs of this process.

Events of watched runs are stored some times a second, calls of the model and spans once a second,
so that those of a killed worker are there. A run that ends within a second or two costs no
statement here: an attempt's end stores all of it, and storing it twice changes nothing.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.exc import StatementError

from shared.background import every
from shared.channels import Channel, Topic
from shared.database import Database
from shared.logging import get_logger
from shared.store import events, records, traces
from shared.store.events import Batch, RunEvent
from shared.store.transitions import Claim
from shared.store.types import Call
from shared.tables import AttemptOutcome, EventKind
from shared.telemetry import Telemetry
from worker.tracing import RunSpans, spans_of_run

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.4
_PAUSE_FOR_ONE_S = 0.04
_EVERY_S = 1.0
_AT_ONCE = 50
_REMEMBERED = 1000
_log = get_logger(__name__)


@dataclass
class _Report:
    """An event before it has a number; `data` may be a function: most runs have no watcher."""

    kind: EventKind
    data: dict[str, Any] | Callable[[], dict[str, Any]]
    at: float = field(default_factory=time.time)


class RunEvents:
    """The events of one attempt; numbered from its claim on, once somebody watches.

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
        """Store the events, from the beginning of the attempt on."""
        self.streamed = True
        self._wake()

    def batch(self) -> Batch | None:
        """Return the events that may not be stored; None: there are none, or nobody watches."""
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
        """Drop events that are in the database."""
        self._unstored = [event for event in self._unstored if event.seq > batch.last]


def _rendered(report: _Report) -> dict[str, Any]:
    data = report.data() if callable(report.data) else report.data
    if report.kind is EventKind.TEXT:
        return {"call": data["call"], "text": "".join(data["pieces"])}
    return data


class RunRecord:
    """The record of one attempt under way: its events, its spans, its calls of the model."""

    def __init__(self, claim: Claim, *, wake: Callable[[], None]) -> None:
        self.claim = claim
        self.events = RunEvents(claim, wake=wake)
        self.spans = RunSpans(claim)
        self.calls: Sequence[Call] = ()
        """Grows at its end only."""
        self.calls_stored = 0
        self.changes_stored = 0

    def unstored_calls(self, *, before: float) -> Sequence[Call]:
        """Return the calls that ended before a moment and may not be stored."""
        return [call for call in self.calls[self.calls_stored :] if call.ended_at < before]


class Recorder:
    """Store the records of this process's runs, for all runs together."""

    def __init__(
        self, database: Database, channel: Channel, telemetry: Telemetry | None = None
    ) -> None:
        self._database = database
        self._channel = channel
        self._telemetry = telemetry
        self._runs: dict[UUID, RunRecord] = {}
        self._news: set[UUID] = set()
        self._watched: OrderedDict[UUID, None] = OrderedDict()
        self._woken = asyncio.Event()

    def begin(self, claim: Claim) -> RunRecord:
        """Begin the record of an attempt, and wake its watchers."""
        run = self._runs[claim.message_id] = RunRecord(claim, wake=self._woken.set)
        if claim.streamed:
            self._news.add(claim.message_id)
            self._woken.set()
        elif claim.message_id in self._watched:  # the watcher came before the claim
            run.events.watch()
        return run

    def end(self, run: RunRecord, outcome: AttemptOutcome | None) -> None:
        """End the record of an attempt, whose end stored the rest; None: its message goes on."""
        if self._runs.get(run.claim.message_id) is run:
            del self._runs[run.claim.message_id]
        if self._telemetry:
            for span in spans_of_run(run.spans, outcome):
                self._telemetry.export(span)

    def watch(self, message_ids: Iterable[UUID]) -> None:
        """Let runs report from now on; also those that begin in a moment."""
        for message_id in message_ids:
            if run := self._runs.get(message_id):
                run.events.watch()
            self._watched[message_id] = None
        while len(self._watched) > _REMEMBERED:
            self._watched.popitem(last=False)

    async def run(self) -> None:
        """Store until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(every(_EVERY_S, self.store_events, "events", woken=self._woken))
            loops.create_task(every(_EVERY_S, self.store_calls, "calls of the model"))
            loops.create_task(every(_EVERY_S, self.store_spans, "spans"))

    async def store_events(self) -> None:
        """Store new events, tell watchers, and pause: the longer, the more messages have news."""
        found = [(run, batch) for run in self._runs.values() if (batch := run.events.batch())]
        for first in range(0, len(found), _AT_ONCE):
            some = found[first : first + _AT_ONCE]
            await self._database.write(events.append, [batch for _, batch in some])
            for run, batch in some:
                run.events.stored(batch)
                self._news.add(run.claim.message_id)
        news, self._news = self._news, set()
        await self._channel.publish(Topic.EVENTS, news)
        if news:
            await asyncio.sleep(pause_s(len(news)))

    async def store_calls(self) -> None:
        """Store calls that are a second old; an attempt that ends soon stores its own."""
        before = time.time() - _EVERY_S
        runs = list(self._runs.values())
        found = [(run, calls) for run in runs if (calls := run.unstored_calls(before=before))]
        if not found:
            return
        try:
            made = [(run.claim, calls) for run, calls in found]
            await self._database.write(records.record_calls, *made)
        except StatementError as error:
            # one call cannot be stored and must not hold up the others: the attempts' ends try
            _log.info("calls of the model cannot be stored", error=type(error).__name__)
        for run, calls in found:
            run.calls_stored += len(calls)

    async def store_spans(self) -> None:
        """Store the spans of runs that are a second old."""
        old = time.time() - _EVERY_S
        found = [
            (run, run.spans.changes)
            for run in self._runs.values()
            if run.spans.changes > run.changes_stored and run.spans.begun_at < old
        ]
        for first in range(0, len(found), _AT_ONCE):
            some = found[first : first + _AT_ONCE]
            await self._database.write(traces.keep, [run.spans.so_far() for run, _ in some])
            for run, changes in some:
                run.changes_stored = changes


def pause_s(messages: int) -> float:
    """Choose how long to pause: the longer, the more messages there was news of."""
    return max(_SHORTEST_PAUSE_S, min(_PAUSE_FOR_ONE_S * messages, _LONGEST_PAUSE_S))
