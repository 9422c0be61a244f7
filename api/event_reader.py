"""Reading what happened to messages and encoding it, for all who ask at the same moment together.

A worker tells of all its runs at once, so many streams are woken together.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from api.problems import problem_members
from api.schemas.messages import MessageOut
from api.streams import Part
from shared.database import Database
from shared.errors import MessageFailed
from shared.store import estimates, events, messages
from shared.store.events import Page, Told
from shared.tables import EventKind, Message

_PAGE = 200
_Place = tuple[UUID, int]
"""A message, and the number of the last event that is known of it."""


class EventReader:
    """Read pages of events; who asks in the same turn of the loop shares a statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: dict[_Place, asyncio.Future[Part]] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def read(self, message_id: UUID, after: int) -> "asyncio.Future[Part]":
        """Read and encode what follows an event; the future raises what the database raises."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            reading = loop.create_task(self._read_all())
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        return self._asked.setdefault((message_id, after), loop.create_future())

    async def _read_all(self) -> None:
        asked, self._asked = self._asked, {}
        try:
            async with self._database.read() as db:
                pages = await events.pages(db, asked, limit=_PAGE)
                parts = [await _part(db, *at) for at in zip(asked, pages, strict=True)]
        except Exception as error:  # noqa: BLE001 -- theirs who asked
            for future in asked.values():
                future.set_exception(error)
            return
        for future, part in zip(asked.values(), parts, strict=True):
            future.set_result(part)


async def _part(db: AsyncSession, place: _Place, page: Page) -> Part:
    message_id, after = place
    message = await messages.reread(db, message_id) if page.ended and page.events else None
    frames = []
    for told in page.events:
        data: dict[str, Any] = {"message_id": str(message_id), "at": _time(told.created_at)}
        match told.kind:
            case EventKind.QUEUED:
                data |= told.data | _estimate(page.state)
            case EventKind.COMPLETED | EventKind.FAILED | EventKind.CANCELLED if message:
                data |= {"attempt": told.attempt} | _end(message)
            case _:
                data |= {"attempt": told.attempt} | told.data
        frames.append(_frame(told, data))
    last = page.events[-1].seq if page.events else after
    return Part(b"".join(frames), last, ended=page.ended, more=page.more)


def _estimate(state: Any) -> dict[str, Any]:
    """Say what a message may expect, to who hears that it is queued."""
    estimate = estimates.estimate_of(state)
    return {"position": estimate.position, "starts_in_s": estimate.starts_in_s}


def _end(message: Message) -> dict[str, Any]:
    """Give the message, and the problem that a POST which waited would be answered with."""
    shown: dict[str, Any] = {"message": MessageOut.of(message).model_dump(mode="json")}
    if message.error is not None:
        error = MessageFailed(message.error, message_id=message.id)
        path = f"/messages/{message.id}"
        shown["problem"] = problem_members(error, path=path, trace_id=message.trace_id)
    return shown


def _frame(told: Told, data: dict[str, Any]) -> bytes:
    # escaped ASCII: one line, and half a surrogate pair passes too
    return f"id: {told.seq}\nevent: {told.kind}\ndata: {json.dumps(data)}\n\n".encode()


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
