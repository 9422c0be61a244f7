"""A message's events as a stream (server-sent events), while they happen and afterwards."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response, status
from fastapi.responses import StreamingResponse
from starlette.types import Send
from typing_extensions import override

from api.dependencies import LastEventId, Owner, Services, ServicesDep
from api.middleware import about
from api.openapi import described, problems
from api.schemas.events import STREAM
from api.streams import Part
from shared import errors
from shared.channels import Topic
from shared.database import DatabaseAway
from shared.logging import get_logger
from shared.store import events, messages
from shared.tables import Message

router = APIRouter(prefix="/messages", tags=["messages"])
_MISSING = problems(errors.MessageNotFound)
_KEEP_ALIVE_S = 15.0
_AGAIN_S = 1.0
# no empty line here and in the keep-alive: some clients take one for an empty event
_FIRST = b"retry: 1000\n"
_KEEP_ALIVE = b": keep-alive\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_log = get_logger(__name__)


class EventStream(StreamingResponse):
    """A stream that closes its source, however the response ends."""

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
    owner: Owner,
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
    last `completed`, `failed` or `cancelled` with the message. A client that comes late gets all
    recorded events: text and tools only if a client watched the message while it ran.
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
    """Answer with the events of a message that follow a number, until the message ends."""
    quiet = not message.streamed and not messages.has_ended(message)
    if quiet and await services.database.write(events.want, message.id):
        await services.channel.publish(Topic.WATCHED, [message.id])
    about(request, message)
    source = _source(services, message.id, after)
    response = EventStream(source, headers=_HEADERS)
    response.source = source
    return response


async def _source(services: Services, message_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    begun = _FIRST
    async with services.subscribers.subscribe(message_id) as subscriber:
        while True:
            try:
                part = await subscriber.read(after)
            except (DatabaseAway, OSError) as error:
                _log.info("the database is away, reading again", error=type(error).__name__)
                await asyncio.sleep(_AGAIN_S)
                part = Part(b"", after, ended=False, more=True)
            after = part.last
            if part.content:
                yield begun + part.content
                begun = b""
            if part.ended or services.subscribers.aborted:
                return
            if not part.more and not await subscriber.news(within_s=_KEEP_ALIVE_S):
                yield begun + _KEEP_ALIVE
                begun = b""
