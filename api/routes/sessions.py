"""Sessions: open, list, change and clear them, read their items, send them messages."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import (
    IdempotencyKey,
    LastEventId,
    Owner,
    PageDep,
    Services,
    ServicesDep,
    TraceId,
    WaitPreference,
    WantsEvents,
)
from api.drafts import new_message
from api.metrics import count_accepted, observe_reply
from api.middleware import about
from api.openapi import Responses, described, problems
from api.responses import AsciiJSONResponse, entry_before, link_next
from api.routes.events import stream
from api.routes.messages import answer
from api.schemas.events import STREAM
from api.schemas.messages import MessageIn, MessageOut
from api.schemas.sessions import ItemOut, SessionCleared, SessionIn, SessionOut, SessionPatch
from api.waiting import wait_for_end
from shared import errors
from shared.database import CommitUnknown
from shared.errors import FailureCode
from shared.store import messages, projects, sessions, transitions
from shared.store.accept import Accepted, NewMessage, accept
from shared.store.sessions import SessionSummary
from shared.store.types import Ended
from shared.telemetry import request_span_id

router = APIRouter(tags=["sessions"])
_MISSING = problems(errors.SessionNotFound)
_SEND = problems(
    errors.SessionNotFound,
    errors.SessionBusy,
    errors.IdempotencyKeyReused,
    errors.SessionQueueFull,
    errors.ProjectQueueFull,
    errors.ServiceQueueFull,
    *FailureCode,
    body=True,
    headers=["Idempotency-Replayed"],
)
_PAGE: Responses = {200: described("The page.", "Link")}


@router.post(
    "/projects/{project_id}/sessions",
    responses={
        200: described("Found."),
        201: {"model": SessionOut, **described("Begun.", "Location")},
        **problems(errors.ProjectNotFound, body=True),
    },
)
async def open_session(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    response: Response,
    body: Annotated[SessionIn | None, Body()] = None,
) -> SessionOut:
    """Find or begin a conversation: on the project, or on one of its agents."""
    summary, created = await services.database.write(_open, project_id, owner, body or SessionIn())
    if created:
        response.status_code = status.HTTP_201_CREATED
        response.headers["Location"] = f"/sessions/{summary.session.id}"
    return SessionOut.of(summary, trace_id=trace_id)


async def _open(
    db: AsyncSession, project_id: UUID, owner: str, body: SessionIn
) -> tuple[SessionSummary, bool]:
    # locked, so that a session cannot appear in a project while it is deleted
    await projects.lock(db, project_id, owner=owner)
    session, created = await sessions.ensure(db, project_id=project_id, **body.model_dump())
    return await sessions.summary(db, session.id), created


@router.get("/projects/{project_id}/sessions", responses=_PAGE | problems(errors.ProjectNotFound))
async def list_sessions(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    trace_id: TraceId,
    request: Request,
    response: Response,
) -> list[SessionOut]:
    """List a project's conversations, oldest first."""
    async with services.database.read() as db:
        await projects.get(db, project_id, owner=owner)
        cursor = await entry_before(page, partial(sessions.get, db, owner=owner))
        found = await sessions.summaries(db, project_id=project_id, after=cursor, limit=page.limit)
    last = found[-1].session.id if found else ""
    link_next(request, response, found, limit=page.limit, after=last)
    return [SessionOut.of(summary, trace_id=trace_id) for summary in found]


@router.post(
    "/sessions/{session_id}/messages",
    response_model=MessageOut,
    responses={
        200: described(
            "Completed. With `Accept: text/event-stream`: its events, as they happen.",
            "Idempotency-Replayed",
            media_type="text/event-stream",
            schema=STREAM,
        ),
        202: {
            "model": MessageOut,
            **described(
                "Accepted, not ended yet: ask at `Location` again.",
                "Location",
                "Retry-After",
                "Idempotency-Replayed",
            ),
        },
        **_SEND,
    },
)
async def send_message(
    *,
    session_id: UUID,
    body: MessageIn,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    wait: WaitPreference,
    events: WantsEvents,
    request: Request,
    response: Response,
    key: IdempotencyKey = None,
    last: LastEventId = None,
) -> MessageOut | Response:
    """Send a prompt to VibeCoder and wait for its reply.

    The message is accepted before anything else happens: it will be answered once, in the order
    of acceptance, whatever becomes of this connection. If it has not ended in time, the answer is
    202; `GET` the `Location`, or send the same POST with the same `Idempotency-Key` again.

    With `Accept: text/event-stream` the answer is a stream, as of `GET /messages/{id}/events`.
    """
    streamed = events or wait == 0
    draft = new_message(body, services.settings, key=key, trace_id=trace_id, streamed=streamed)
    async with services.accept_limiter.turn():
        accepted = await _accept(services, session_id, draft, owner)  # commit 1: accepted
    count_accepted(accepted)
    message = accepted.message
    if accepted.replayed:
        request.state.headers["Idempotency-Replayed"] = "true"
    else:  # where spans are sent, the worker's hang below it
        request.state.span_id = request_span_id(message.id)
    about(request, message)
    if events:
        await services.announcer.announce(accepted.ended)
        return await stream(services, message, request, after=last or 0)
    with services.end_waiters.register(message.id) as ended:
        enqueued = await services.announcer.announce(accepted.ended)
        if not messages.has_ended(message):
            seconds = services.settings.sync_wait_s if wait is None else wait
            task = enqueued.get(message.id)
            if task is None and services.announcer.broker_lost:
                seconds = 0  # nothing before it can be answered soon either
            await wait_for_end(ended, seconds=seconds, receive=request.receive, enqueued=task)
    async with services.database.read() as db:
        message = await messages.reread(db, message.id)
    observe_reply(message, ended)
    return await answer(services, message, response, rolled_back=accepted.ended.ids)


async def _accept(services: Services, session_id: UUID, draft: NewMessage, owner: str) -> Accepted:
    async def write() -> Accepted:
        return await services.database.write(
            accept,
            session_id,
            draft,
            owner=owner,
            settings=services.settings,
            unfinished=services.unfinished,
        )

    try:
        return await write()
    except CommitUnknown:  # the draft's id tells whether it happened
        return await write()


@router.get("/sessions/{session_id}", responses=_MISSING)
async def get_session(
    session_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> SessionOut:
    """Read a session with its figures."""
    async with services.database.read() as db:
        await sessions.get(db, session_id, owner=owner)
        return SessionOut.of(await sessions.summary(db, session_id), trace_id=trace_id)


@router.patch("/sessions/{session_id}", responses=problems(errors.SessionNotFound, body=True))
async def change_session(
    session_id: UUID,
    body: SessionPatch,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
) -> SessionOut:
    """Give a session another title or other budgets."""
    await services.database.write(_change, session_id, owner, body)
    return await get_session(session_id, services, owner, trace_id)


async def _change(db: AsyncSession, session_id: UUID, owner: str, body: SessionPatch) -> None:
    await sessions.get(db, session_id, owner=owner)
    await sessions.change(db, session_id, body.model_dump(exclude_unset=True))


@router.delete("/sessions/{session_id}", responses=_MISSING)
async def clear_session(
    session_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> SessionCleared:
    """Forget the conversation; the session can be used again, empty.

    What is unfinished is cancelled. The old messages leave the list; each can still be read.
    """
    ended = await services.database.write(
        _clear, session_id, owner, limit=services.settings.project_concurrency
    )
    await services.announcer.announce(ended)
    return SessionCleared(session_id=session_id, trace_id=trace_id)


async def _clear(db: AsyncSession, session_id: UUID, owner: str, *, limit: int) -> Ended:
    await sessions.get(db, session_id, owner=owner)
    return await transitions.clear_session(db, session_id, limit=limit)


@router.get("/sessions/{session_id}/messages", responses=_PAGE | _MISSING)
async def list_messages(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    request: Request,
    response: Response,
) -> list[MessageOut]:
    """List the messages since the session was last cleared, oldest first."""
    async with services.database.read() as db:
        session = await sessions.get(db, session_id, owner=owner)
        cursor = await entry_before(page, partial(messages.get, db, owner=owner))
        limit = await messages.listed_on_page(db, session, after=cursor, limit=page.limit)
        found = await messages.listing(db, session, after=cursor, limit=limit)
    link_next(request, response, found, limit=limit, after=found[-1].id if found else "")
    return [MessageOut.of(message) for message in found]


@router.get(
    "/sessions/{session_id}/items", response_model=list[ItemOut], responses=_PAGE | _MISSING
)
async def list_items(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    request: Request,
    response: Response,
) -> AsciiJSONResponse:
    """List what the model remembers, oldest first."""
    after = page.after_number()
    async with services.database.read() as db:
        session = await sessions.get(db, session_id, owner=owner)
        start = 0 if after is None else after + 1
        generation = session.generation
        limit = await sessions.items_on_page(
            db, session_id, generation=generation, start=start, limit=page.limit
        )
        found = await sessions.items(
            db, session_id, generation=generation, start=start, limit=limit
        )
    link_next(request, response, found, limit=limit, after=found[-1].position if found else "")
    shown = [ItemOut.of(item).model_dump(mode="json") for item in found]
    return AsciiJSONResponse(shown, headers=dict(response.headers))
