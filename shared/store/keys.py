"""API keys: made, listed, revoked, and read to check one.

A key is `vck_`, 16 hex digits that name it, `_` and 256 random bits. Only its SHA-256 is kept: what
is as random as that cannot be guessed from its hash, however fast the hash is.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.tables import ApiKey, Role

_FORM = re.compile(r"vck_([0-9a-f]{16})_[0-9a-f]{64}")


@dataclass(frozen=True)
class Presented:
    """A key as a client shows it: which one it says it is, and its hash."""

    key_id: str
    hash: str


def new_key() -> str:
    """Make a key; it is shown once and never stored."""
    return f"vck_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def read_key(text: str) -> Presented | None:
    """Read what a client shows; None if it is no key of ours."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    return Presented(form[1], hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class KnownKey:
    """A key as the cache needs it: its hash, its owner, its role, and whether it is valid now."""

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
