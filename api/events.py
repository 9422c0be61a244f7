"""A message's events as a stream (server-sent events), while they happen and afterwards."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response, status
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Send
from typing_extensions import override

from api.context import about
from api.dependencies import Caller, LastEventId, Services, ServicesDep
from api.openapi import described, problems
from api.problems import problem_members
from api.schemas.events import STREAM
from api.schemas.messages import MessageOut
from api.watchers import Part
from shared import errors
from shared.channels import Topic
from shared.database import Database, retried
from shared.errors import MessageFailed
from shared.logging import get_logger
from shared.store import events, messages, rates
from shared.store.events import Page, Told
from shared.tables import EventKind, Message

router = APIRouter(prefix="/messages", tags=["messages"])
_MISSING = problems(errors.MessageNotFound)
_KEEP_ALIVE_S = 15.0
_AGAIN_S = 1.0
_PAGE = 200
# without an empty line, as the keep-alive: some clients take it for an event that says nothing
_FIRST = b"retry: 1000\n"
_KEEP_ALIVE = b": keep-alive\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_log = get_logger(__name__)


class EventStream(StreamingResponse):
    """A stream that ends its source too, however it ends itself."""

    media_type = "text/event-stream"
    source: AsyncGenerator[bytes, None]

    @override
    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.source):
            await super().stream_response(send)


@router.get(
    "/{message_id}/events",
    response_class=EventStream,
    response_model=None,
    responses={
        200: described("The events.", media_type="text/event-stream", schema=STREAM),
        204: described("There is nothing after that event: the message has ended."),
        **_MISSING,
    },
)
async def watch_message(
    *,
    message_id: UUID,
    services: ServicesDep,
    owner: Caller,
    request: Request,
    last: LastEventId = None,
    after: Annotated[
        int | None,
        Query(ge=0, le=1_000_000_000, description="As `Last-Event-ID`, which goes before it."),
    ] = None,
) -> Response:
    """Watch a message: what happens to it, as server-sent events.

    Each has an `id` without gaps, an `event` and JSON as `data`: `queued`, `claimed` (a worker
    begins an attempt, and what was written before it counts no more), `text` (as the model writes
    it; another `call` begins another text), `tool_called`, `tool_answered`, `code_changed`, and at
    last `completed`, `failed` or `cancelled` with the message. Who comes late gets what was
    recorded from the start: text and tools of a message that somebody watched while it ran.
    """
    async with services.database.read() as db:
        message = await messages.get(db, message_id, owner=owner)
    start = last if last is not None else after or 0
    if messages.has_ended(message) and start >= message.event_count:
        about(request, message)
        return Response(status_code=status.HTTP_204_NO_CONTENT)  # an EventSource stays away now
    return await stream(services, message, request, after=start)


async def stream(
    services: Services, message: Message, request: Request, *, after: int
) -> EventStream:
    """Answer with the events of a message after a number, until its end."""
    quiet = not message.streamed and not messages.has_ended(message)
    if quiet and await _want(services.database, message.id):
        await services.channel.publish(Topic.WATCHED, [message.id])
    about(request, message)
    source = _source(services, message.id, after)
    response = EventStream(source, headers=_HEADERS)
    response.source = source
    return response


@retried
async def _want(database: Database, message_id: UUID) -> bool:
    async with database.begin() as db:
        return await events.want(db, message_id)


async def _source(services: Services, message_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    read = partial(_read, services.database)
    begun = _FIRST
    async with services.watchers.watching(message_id) as watcher:
        while True:
            try:
                part = await watcher.read(after, read)
            except (SQLAlchemyError, OSError) as error:
                _log.info("the database is away, reading again", error=type(error).__name__)
                await asyncio.sleep(_AGAIN_S)
                part = Part(b"", after, ended=False, more=True)
            after = part.last
            if part.content:
                yield begun + part.content
                begun = b""
            if part.ended or services.watchers.given_up:
                return
            if not part.more and not await watcher.news(within_s=_KEEP_ALIVE_S):
                yield begun + _KEEP_ALIVE
                begun = b""


async def _read(database: Database, message_id: UUID, after: int) -> Part:
    """Read and encode what follows an event."""
    async with database.read() as db:
        page = await events.page(db, message_id, after=after, limit=_PAGE)
        message = await db.get(Message, message_id) if page.ended and page.events else None
        outlook = await _outlook(db, page)
    frames = []
    for told in page.events:
        data: dict[str, Any] = {"message_id": str(message_id), "at": _time(told.created_at)}
        match told.kind:
            case EventKind.QUEUED:
                data |= told.data | outlook
            case EventKind.COMPLETED | EventKind.FAILED | EventKind.CANCELLED if message:
                data |= {"attempt": told.attempt} | _end(message)
            case _:
                data |= {"attempt": told.attempt} | told.data
        frames.append(_frame(told, data))
    last = page.events[-1].seq if page.events else after
    return Part(b"".join(frames), last, ended=page.ended, more=page.more)


async def _outlook(db: AsyncSession, page: Page) -> dict[str, Any]:
    """Say what a message may expect, to who hears that it is queued."""
    if not page.events or page.events[0].kind is not EventKind.QUEUED:
        return {}
    state = page.state
    outlook = await rates.outlook_of(
        db, state.status, state.session_id, state.place, queued_at=state.queued_at
    )
    return {"position": outlook.position, "starts_in_s": outlook.starts_in_s}


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
