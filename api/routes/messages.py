"""Messages: read one in short or in full, change, cancel, withdraw or fork it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import Owner, Services, ServicesDep, TraceId, WaitPreference
from api.drafts import check_prompt, with_prompt
from api.middleware import about
from api.openapi import described, problems
from api.responses import AsciiJSONResponse
from api.schemas.forks import ForkIn
from api.schemas.full_messages import FullMessageOut
from api.schemas.messages import MessageOut, MessagePatch
from api.schemas.sessions import SessionOut
from api.waiting import wait_for_end
from shared import errors
from shared.errors import MessageFailed
from shared.store import estimates, forks, messages, projects, sessions, transitions
from shared.store.sessions import SessionSummary
from shared.store.transitions import Ended
from shared.tables import Message, MessageStatus

router = APIRouter(prefix="/messages", tags=["messages"])
_MISSING = problems(errors.MessageNotFound)
_QUEUED = problems(errors.MessageNotFound, errors.MessageNotQueued)
_ASK_AGAIN_S = "1"


async def answer(
    services: Services,
    message: Message,
    response: Response,
    *,
    rolled_back: tuple[UUID, ...] = (),
) -> MessageOut:
    """Answer a POST with what became of its message: 200, 202, or the problem that ended it.

    Raises:
        MessageFailed: it failed or was cancelled.
    """
    if message.status in {MessageStatus.FAILED, MessageStatus.CANCELLED}:
        assert message.error is not None
        raise MessageFailed(message.error, message_id=message.id)
    if message.status == MessageStatus.COMPLETED:
        return MessageOut.of(message, rolled_back=rolled_back)
    response.status_code = status.HTTP_202_ACCEPTED
    response.headers["Location"] = f"/messages/{message.id}"
    response.headers["Retry-After"] = _ASK_AGAIN_S
    return await _unfinished(services, message, rolled_back=rolled_back)


async def _unfinished(
    services: Services, message: Message, *, rolled_back: tuple[UUID, ...] = ()
) -> MessageOut:
    async with services.database.read() as db:
        estimate = await estimates.estimate(db, message)
    return MessageOut.of(message, estimate=estimate, rolled_back=rolled_back)


@router.get("/{message_id}", responses=_MISSING)
async def get_message(
    message_id: UUID,
    services: ServicesDep,
    owner: Owner,
    wait: WaitPreference,
    request: Request,
) -> MessageOut:
    """Read a message; with `Prefer: wait=N` wait so long for its end."""
    message = await _get(services, message_id, owner)
    if wait and not messages.has_ended(message):
        message = await _wait(services, message, request, seconds=wait)
    return await _shown(services, message, request)


async def _wait(
    services: Services, message: Message, request: Request, *, seconds: float
) -> Message:
    with services.end_waiters.register(message.id) as ended:
        async with services.database.read() as db:  # it may have ended before the registration
            message = await messages.reread(db, message.id)
        if not messages.has_ended(message):
            await wait_for_end(ended, seconds=seconds, receive=request.receive)
    async with services.database.read() as db:
        return await messages.reread(db, message.id)


@router.get("/{message_id}/full", response_model=FullMessageOut, responses=_MISSING)
async def get_full_message(
    message_id: UUID, services: ServicesDep, owner: Owner, request: Request
) -> AsciiJSONResponse:
    """Read a message with everything: tool calls, raw model responses, items and attempts."""
    async with services.database.read() as db:
        full = await messages.full(db, message_id, owner=owner)
    about(request, full.message)
    return AsciiJSONResponse(FullMessageOut.of_full(full).model_dump(mode="json"))


@router.post("/{message_id}/cancel", responses=_MISSING)
async def cancel_message(
    message_id: UUID, services: ServicesDep, owner: Owner, request: Request
) -> MessageOut:
    """Cancel a message, queued or running; one that has ended stays as it is."""
    message, ended = await services.database.write(
        _cancel, message_id, owner, limit=services.settings.project_concurrency
    )
    await services.announcer.announce(ended)
    return await _shown(services, message, request)


async def _cancel(
    db: AsyncSession, message_id: UUID, owner: str, *, limit: int
) -> tuple[Message, Ended]:
    message = await messages.get(db, message_id, owner=owner)
    ended = await transitions.cancel(db, message, limit=limit)
    return message, ended


@router.patch(
    "/{message_id}",
    responses=problems(errors.MessageNotFound, errors.MessageNotQueued, body=True),
)
async def change_message(
    message_id: UUID, body: MessagePatch, services: ServicesDep, owner: Owner, request: Request
) -> MessageOut:
    """Give a queued message another prompt, until a worker claims it.

    A POST that is repeated with its `Idempotency-Key` is then the same only with the new prompt.
    """
    check_prompt(body.prompt, services.settings)
    message = await services.database.write(_change, message_id, owner, body.prompt)
    return await _shown(services, message, request)


async def _change(db: AsyncSession, message_id: UUID, owner: str, prompt: str) -> Message:
    message = await messages.get(db, message_id, owner=owner)
    changed = with_prompt(message.request_hash, prompt)
    await transitions.change(db, message, prompt=prompt, request_hash=changed)
    return message


@router.delete("/{message_id}", responses=_QUEUED)
async def withdraw_message(
    message_id: UUID, services: ServicesDep, owner: Owner, request: Request
) -> MessageOut:
    """Withdraw a queued message, until a worker claims it: it ends as cancelled and stays."""
    message, ended = await services.database.write(
        _withdraw, message_id, owner, limit=services.settings.project_concurrency
    )
    await services.announcer.announce(ended)
    return await _shown(services, message, request)


async def _withdraw(
    db: AsyncSession, message_id: UUID, owner: str, *, limit: int
) -> tuple[Message, Ended]:
    message = await messages.get(db, message_id, owner=owner)
    return message, await transitions.withdraw(db, message, limit=limit)


@router.post(
    "/{message_id}/fork",
    status_code=status.HTTP_201_CREATED,
    responses={
        201: described("Begun.", "Location"),
        **problems(
            errors.MessageNotFound, errors.MessageUnfinished, errors.MemoryIncomplete, body=True
        ),
    },
)
async def fork_message(
    *,
    message_id: UUID,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    response: Response,
    body: Annotated[ForkIn | None, Body()] = None,
) -> SessionOut:
    """Begin a session with the memory of another one as it was after an ended message.

    After a message that failed or was cancelled that is what it was before. The new session's
    list of messages is empty: the old ones stay where they were sent, and
    `forked_from_message_id` names the last of them. With `copy_project` the session works on a
    copy of the project, whose first revision is the code as it was then.
    """
    summary = await services.database.write(_fork, message_id, owner, body or ForkIn())
    response.headers["Location"] = f"/sessions/{summary.session.id}"
    return SessionOut.of(summary, trace_id=trace_id)


async def _fork(db: AsyncSession, message_id: UUID, owner: str, body: ForkIn) -> SessionSummary:
    message = await messages.get(db, message_id, owner=owner)
    # locked, so that a session cannot appear in a project while it is deleted
    project = await projects.lock(db, message.project_id, owner=owner)
    session = await forks.fork(db, message, project, copy_project=body.copy_project)
    return await sessions.summary(db, session.id)


async def _get(services: Services, message_id: UUID, owner: str) -> Message:
    async with services.database.read() as db:
        return await messages.get(db, message_id, owner=owner)


async def _shown(services: Services, message: Message, request: Request) -> MessageOut:
    about(request, message)
    if messages.has_ended(message):
        return MessageOut.of(message)
    return await _unfinished(services, message)
