"""API keys: their table, what they look like, and what of them is kept.

A key is `vck_`, 16 hex digits that name it, `_` and 256 random bits. Only its SHA-256 is kept: what
is as random as that cannot be guessed from its hash, however fast the hash is.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from shared.database import clock
from shared.tables import Base

_FORM = re.compile(r"vck_([0-9a-f]{16})_[0-9a-f]{64}")


class Role(StrEnum):
    """What a key is good for; each includes the one before."""

    READ = "read"
    """Look at all that the owner has, change nothing."""
    WRITE = "write"
    """Do everything with what the owner has."""
    ADMIN = "admin"
    """See the operator's pages besides: figures of all owners, never their contents."""


class ApiKey(Base):
    """A key, without the key."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(10))
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(default=clock())
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


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
