"""Webhooks: the addresses that get the ends of a project's messages, and the deliveries."""

from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request, Response, status
from pydantic import HttpUrl
from sqlalchemy.ext.asyncio import AsyncSession

from api.dependencies import Owner, PageDep, ServicesDep, TraceId
from api.openapi import Responses, described, problems
from api.responses import entry_before, link_next
from api.schemas.webhooks import DeliveryOut, NewWebhookOut, WebhookDeleted, WebhookIn, WebhookOut
from shared import errors
from shared.addresses import is_public
from shared.errors import InvalidRequest
from shared.settings import Settings
from shared.store import projects, webhooks
from shared.tables import Delivery, MessageStatus, Webhook

router = APIRouter(tags=["webhooks"])
_MISSING = problems(errors.WebhookNotFound)
_PAGE: Responses = {200: described("The page.", "Link")}


@router.post(
    "/projects/{project_id}/webhooks",
    status_code=status.HTTP_201_CREATED,
    responses={
        201: described("Made.", "Location"),
        **problems(errors.ProjectNotFound, errors.WebhooksFull, body=True),
    },
)
async def create_webhook(
    *,
    project_id: UUID,
    body: WebhookIn,
    services: ServicesDep,
    owner: Owner,
    trace_id: TraceId,
    response: Response,
) -> NewWebhookOut:
    """Let an address be told when messages of the project end; the secret is shown only here.

    Each end is a POST, signed as standardwebhooks.com says, and sent again for about a day until
    it is answered with 2xx; the same `webhook-id` may come twice.
    """
    _check(body.url, services.settings)
    webhook = await services.database.write(_create, project_id, owner, body)
    response.headers["Location"] = f"/webhooks/{webhook.id}"
    return NewWebhookOut.of(webhook, trace_id=trace_id)


def _check(url: HttpUrl, settings: Settings) -> None:
    """Refuse at once what a worker would never call; it looks names up and checks them itself."""
    assert url.host
    if url.username or url.password:
        raise _invalid("must not hold a user name or a password: the deliveries are signed")
    if settings.webhook_private:
        return
    if url.scheme != "https":
        raise _invalid("must begin with https://")
    if _is_literally_private(url.host):
        raise _invalid("must not lead to a private address; give one that the internet reaches")


def _is_literally_private(host: str) -> bool:
    name = host.rstrip(".").removeprefix("[").removesuffix("]")
    try:
        return not is_public(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(f"#/url: {detail}.", errors=[{"pointer": "#/url", "detail": detail}])


async def _create(db: AsyncSession, project_id: UUID, owner: str, body: WebhookIn) -> Webhook:
    statuses = [MessageStatus(name) for name in body.statuses]
    return await webhooks.create(db, project_id, owner=owner, url=str(body.url), statuses=statuses)


@router.get("/projects/{project_id}/webhooks", responses=problems(errors.ProjectNotFound))
async def list_webhooks(
    project_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> list[WebhookOut]:
    """List a project's webhooks, oldest first; there are ten at the most."""
    async with services.database.read() as db:
        await projects.get(db, project_id, owner=owner)
        found = await webhooks.listing(db, project_id)
    return [WebhookOut.of(webhook, trace_id=trace_id) for webhook in found]


@router.get("/webhooks/{webhook_id}", responses=_MISSING)
async def get_webhook(
    webhook_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> WebhookOut:
    """Read a webhook, without its secret."""
    async with services.database.read() as db:
        webhook = await webhooks.get(db, webhook_id, owner=owner)
    return WebhookOut.of(webhook, trace_id=trace_id)


@router.delete("/webhooks/{webhook_id}", responses=_MISSING)
async def delete_webhook(
    webhook_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> WebhookDeleted:
    """Delete a webhook with its deliveries; pending deliveries are not sent any more."""
    await services.database.write(_delete, webhook_id, owner)
    return WebhookDeleted(id=webhook_id, trace_id=trace_id)


async def _delete(db: AsyncSession, webhook_id: UUID, owner: str) -> None:
    await webhooks.remove(db, await webhooks.get(db, webhook_id, owner=owner))


@router.get("/webhooks/{webhook_id}/deliveries", responses=_PAGE | _MISSING)
async def list_deliveries(
    *,
    webhook_id: UUID,
    services: ServicesDep,
    owner: Owner,
    page: PageDep,
    trace_id: TraceId,
    request: Request,
    response: Response,
) -> list[DeliveryOut]:
    """List what a webhook was or will be told, newest first."""
    async with services.database.read() as db:
        await webhooks.get(db, webhook_id, owner=owner)
        cursor = await entry_before(page, partial(webhooks.delivery, db, webhook_id))
        found = await webhooks.deliveries(db, webhook_id, after=cursor, limit=page.limit)
    link_next(request, response, found, limit=page.limit, after=found[-1].id if found else "")
    return [DeliveryOut.of(delivery, trace_id=trace_id) for delivery in found]


@router.post(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/retry",
    responses=problems(errors.WebhookNotFound, errors.DeliveryNotFound),
)
async def retry_delivery(
    webhook_id: UUID, delivery_id: UUID, services: ServicesDep, owner: Owner, trace_id: TraceId
) -> DeliveryOut:
    """Send a delivery anew that was given up or taken; one that is pending stays as it is."""
    delivery = await services.database.write(_retry, webhook_id, delivery_id, owner)
    return DeliveryOut.of(delivery, trace_id=trace_id)


async def _retry(db: AsyncSession, webhook_id: UUID, delivery_id: UUID, owner: str) -> Delivery:
    await webhooks.get(db, webhook_id, owner=owner)
    return await webhooks.retry(db, webhook_id, delivery_id)
