"""Webhooks as their owners see them: made, listed, deleted, and what became of their deliveries."""

import base64
import secrets
from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.errors import DeliveryNotFound, WebhookNotFound, WebhooksFull
from shared.store import projects
from shared.tables import Delivery, DeliveryStatus, MessageStatus, Project, Webhook

MOST_OF_A_PROJECT = 10


def new_secret() -> str:
    """Make what a webhook's deliveries are signed with, as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


async def create(
    db: AsyncSession,
    project_id: UUID,
    *,
    owner: str,
    url: str,
    statuses: Sequence[MessageStatus],
) -> Webhook:
    """Add a webhook to a project, with a secret of its own.

    Raises:
        ProjectNotFound, WebhooksFull.
    """
    await projects.lock(db, project_id, owner=owner)  # so that two at once are counted both
    here = select(func.count(Webhook.id)).where(Webhook.project_id == project_id)
    if (await db.scalar(here) or 0) >= MOST_OF_A_PROJECT:
        raise WebhooksFull(
            f"The project has {MOST_OF_A_PROJECT} webhooks, as many as it may. Delete one first."
        )
    made = insert(Webhook).values(
        id=uuid4(), project_id=project_id, url=url, secret=new_secret(), statuses=list(statuses)
    )
    return (await db.scalars(made.returning(Webhook))).one()


async def listing(db: AsyncSession, project_id: UUID) -> Sequence[Webhook]:
    """List a project's webhooks, oldest first."""
    found = await db.scalars(
        select(Webhook)
        .where(Webhook.project_id == project_id)
        .order_by(Webhook.created_at, Webhook.id)
    )
    return found.all()


async def get(db: AsyncSession, webhook_id: UUID, *, owner: str) -> Webhook:
    """Read a webhook of a living project of that owner."""
    found = await db.scalar(
        select(Webhook)
        .join(Project, Project.id == Webhook.project_id)
        .where(Webhook.id == webhook_id, Project.owner == owner, Project.deleted_at.is_(None))
    )
    if found is None:
        raise WebhookNotFound(f"There is no webhook {webhook_id}.")
    return found


async def remove(db: AsyncSession, webhook: Webhook) -> None:
    """Delete a webhook with its deliveries, those that are pending too."""
    await db.execute(delete(Webhook).where(Webhook.id == webhook.id))


async def deliveries(
    db: AsyncSession, webhook_id: UUID, *, after: Delivery | None, limit: int
) -> Sequence[Delivery]:
    """List what a webhook was or will be told, the newest first."""
    statement = (
        select(Delivery)
        .where(Delivery.webhook_id == webhook_id)
        .order_by(Delivery.created_at.desc(), Delivery.id.desc())
        .limit(limit)
    )
    if after is not None:
        place = tuple_(Delivery.created_at, Delivery.id)
        statement = statement.where(place < tuple_(after.created_at, after.id))
    return (await db.scalars(statement)).all()


async def delivery(db: AsyncSession, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Read one delivery of a webhook."""
    found = await db.get(Delivery, delivery_id)
    if found is None or found.webhook_id != webhook_id:
        raise DeliveryNotFound(f"The webhook has no delivery {delivery_id}.")
    return found


async def retry(db: AsyncSession, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Begin a delivery anew, whatever became of it; one that is pending stays as it is."""
    await db.execute(
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            Delivery.webhook_id == webhook_id,
            Delivery.status != DeliveryStatus.PENDING,
        )
        .values(status=DeliveryStatus.PENDING, tries=0, next_at=clock(), delivered_at=None)
    )
    return await delivery(db, webhook_id, delivery_id)
