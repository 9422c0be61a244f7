"""Sessions, and the main job: send a prompt, get the reply."""

import hashlib
import json
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response, status

from api.dependencies import (
    Caller,
    IdempotencyKey,
    PageDep,
    Services,
    ServicesDep,
    TraceId,
    WaitPreference,
)
from api.messages import answer
from api.openapi import Responses, described, problems
from api.paging import entry_before, link_next
from api.replies import wait_for_end
from api.schemas.messages import MessageIn, MessageOut
from api.schemas.sessions import ItemOut, SessionCleared, SessionIn, SessionOut, SessionPatch
from shared import errors
from shared.database import retried
from shared.errors import FailureCode, InvalidRequest
from shared.store import cancels, messages, projects, sessions
from shared.store.acceptance import Accepted, Draft, accept
from shared.store.sessions import SessionSummary
from shared.store.transitions import Ended

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
    "/sessions/{session_id}/messages",
    responses={
        200: described("Completed.", "Idempotency-Replayed"),
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
    owner: Caller,
    trace_id: TraceId,
    wait: WaitPreference,
    request: Request,
    response: Response,
    key: IdempotencyKey = None,
) -> MessageOut:
    """Send a prompt to VibeCoder and wait for its reply.

    The message is accepted before anything else happens: it will be answered once, in the order
    of acceptance, whatever becomes of this connection. If it has not ended in time, the answer is
    202; `GET` the `Location`, or send the same POST with the same `Idempotency-Key` again.
    """
    draft = _draft(body, services, key=key, trace_id=trace_id)
    async with services.gate.passing():
        accepted = await _accept(services, session_id, draft, owner)  # commit 1: accepted
    message = accepted.message
    if accepted.replayed:
        request.state.headers["Idempotency-Replayed"] = "true"
    with services.replies.expecting(message.id) as ended:
        hints = await services.announcer.announce(accepted.ended)
        if not messages.has_ended(message):
            seconds = services.settings.sync_wait_s if wait is None else wait
            hint = hints.get(message.id)
            if hint is None and services.announcer.broker_lost:
                seconds = 0  # nothing before it can be answered soon either
            await wait_for_end(ended, seconds=seconds, receive=request.receive, hint=hint)
    async with services.database.read() as db:
        message = await messages.reread(db, message)
    return await answer(services, message, request, response, rolled_back=accepted.ended.ids)


def _draft(body: MessageIn, services: Services, *, key: str | None, trace_id: str) -> Draft:
    settings = services.settings
    if len(body.prompt) > settings.prompt_limit:
        raise _invalid("prompt", f"longer than the {settings.prompt_limit} characters allowed")
    if body.model is not None and body.model not in settings.allowed_models:
        raise _invalid("model", f"must be one of {', '.join(settings.allowed_models)}")
    options = json.dumps([body.prompt, body.on_busy, body.model])
    return Draft(
        prompt=body.prompt,
        model=body.model or settings.default_model,
        on_busy=body.on_busy,
        idempotency_key=key,
        request_hash=hashlib.sha256(options.encode()).hexdigest(),
        trace_id=trace_id,
    )


def _invalid(member: str, detail: str) -> InvalidRequest:
    return InvalidRequest(
        f"#/{member}: {detail}.", errors=[{"pointer": f"#/{member}", "detail": detail}]
    )


@retried
async def _accept(services: Services, session_id: UUID, draft: Draft, owner: str) -> Accepted:
    async with services.database.begin() as db:
        return await accept(db, session_id, draft, owner=owner, settings=services.settings)


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
    owner: Caller,
    trace_id: TraceId,
    response: Response,
    body: Annotated[SessionIn | None, Body()] = None,
) -> SessionOut:
    """Find or begin a conversation: on the project, or on one of its agents."""
    summary, created = await _open(services, project_id, owner, body or SessionIn())
    if created:
        response.status_code = status.HTTP_201_CREATED
        response.headers["Location"] = f"/sessions/{summary.session.id}"
    return SessionOut.of(summary, trace_id=trace_id)


@retried
async def _open(
    services: Services, project_id: UUID, owner: str, body: SessionIn
) -> tuple[SessionSummary, bool]:
    async with services.database.begin() as db:
        # locked, so that a session cannot appear in a project while it is deleted
        await projects.lock(db, project_id, owner=owner)
        session, created = await sessions.ensure(
            db, project_id=project_id, node_id=body.node_id, new=body.new, title=body.title
        )
        return await sessions.summary(db, session.id), created


@router.get("/projects/{project_id}/sessions", responses=_PAGE | problems(errors.ProjectNotFound))
async def list_sessions(
    *,
    project_id: UUID,
    services: ServicesDep,
    owner: Caller,
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


@router.get("/sessions/{session_id}", responses=_MISSING)
async def get_session(
    session_id: UUID, services: ServicesDep, owner: Caller, trace_id: TraceId
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
    owner: Caller,
    trace_id: TraceId,
) -> SessionOut:
    """Give a session another title."""
    await _retitle(services, session_id, owner, body.title)
    return await get_session(session_id, services, owner, trace_id)


@retried
async def _retitle(services: Services, session_id: UUID, owner: str, title: str | None) -> None:
    async with services.database.begin() as db:
        await sessions.get(db, session_id, owner=owner)
        await sessions.set_title(db, session_id, title=title)


@router.delete("/sessions/{session_id}", responses=_MISSING)
async def clear_session(
    session_id: UUID, services: ServicesDep, owner: Caller, trace_id: TraceId
) -> SessionCleared:
    """Forget the conversation; the session can be used again, empty.

    What is unfinished is cancelled. The old messages leave the list; each can still be read.
    """
    ended = await _clear(services, session_id, owner)
    await services.announcer.announce(ended)
    return SessionCleared(session_id=session_id, trace_id=trace_id)


@retried
async def _clear(services: Services, session_id: UUID, owner: str) -> Ended:
    async with services.database.begin() as db:
        await sessions.get(db, session_id, owner=owner)
        return await cancels.clear_session(
            db, session_id, limit=services.settings.project_concurrency
        )


@router.get("/sessions/{session_id}/messages", responses=_PAGE | _MISSING)
async def list_messages(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Caller,
    page: PageDep,
    request: Request,
    response: Response,
) -> list[MessageOut]:
    """List the messages since the session was last cleared, oldest first."""
    async with services.database.read() as db:
        session = await sessions.get(db, session_id, owner=owner)
        cursor = await entry_before(page, partial(messages.get, db, owner=owner))
        found = await messages.listing(db, session, after=cursor, limit=page.limit)
    link_next(request, response, found, limit=page.limit, after=found[-1].id if found else "")
    return [MessageOut.of(message) for message in found]


@router.get("/sessions/{session_id}/items", responses=_PAGE | _MISSING)
async def list_items(
    *,
    session_id: UUID,
    services: ServicesDep,
    owner: Caller,
    page: PageDep,
    request: Request,
    response: Response,
) -> list[ItemOut]:
    """List what the model remembers, oldest first."""
    after = page.after_number()
    async with services.database.read() as db:
        session = await sessions.get(db, session_id, owner=owner)
        found = await sessions.items(
            db,
            session_id,
            generation=session.generation,
            start=0 if after is None else after + 1,
            limit=page.limit,
        )
    link_next(request, response, found, limit=page.limit, after=found[-1].position if found else "")
    return [ItemOut.of(item) for item in found]
