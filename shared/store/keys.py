"""API keys: made, listed, revoked, and read by who checks them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import clock
from shared.keys import ApiKey, Role, new_key, read_key


@dataclass(frozen=True)
class KnownKey:
    """What is to know of a key at the moment it is asked for."""

    id: str
    name: str
    owner: str
    role: Role
    hash: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    valid: bool


async def create(
    db: AsyncSession, *, name: str, owner: str, role: Role, lasts_s: float | None
) -> str:
    """Make a key and return it; nothing can show it again."""
    key = new_key()
    presented = read_key(key)
    assert presented
    await db.execute(
        insert(ApiKey).values(
            id=presented.key_id,
            name=name,
            owner=owner,
            role=role,
            hash=presented.hash,
            expires_at=None if lasts_s is None else clock() + lasts_s,
        )
    )
    return key


async def listing(db: AsyncSession) -> Sequence[KnownKey]:
    """List all keys that were ever made, oldest first."""
    unexpired = ApiKey.expires_at.is_(None) | (ApiKey.expires_at > clock())
    valid = ApiKey.revoked_at.is_(None) & unexpired
    found = await db.execute(
        select(
            ApiKey.id,
            ApiKey.name,
            ApiKey.owner,
            ApiKey.role,
            ApiKey.hash,
            ApiKey.created_at,
            ApiKey.expires_at,
            ApiKey.revoked_at,
            valid.label("valid"),
        ).order_by(ApiKey.created_at, ApiKey.id)
    )
    rows = found.mappings().all()
    return [
        KnownKey(**{**row, "role": Role(row["role"]), "valid": bool(row["valid"])}) for row in rows
    ]


async def revoke(db: AsyncSession, key_id: str) -> bool:
    """End a key; False: there is none of that id. A second time changes nothing."""
    ended = await db.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, clock()))
        .returning(ApiKey.id)
    )
    return ended.first() is not None
