"""A look at a session by a worker: who waits for it, and what the worker found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from shared.dialects import clock
from shared.tables import Base


class Check(Base):
    """A check or repair that somebody waits for; gone once he has the `report` or gave up."""

    __tablename__ = "checks"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    trace_id: Mapped[str] = mapped_column(String(38))
    created_at: Mapped[float] = mapped_column(default=clock())
    report: Mapped[dict[str, Any] | None]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do; `repairable`: a repair does it."""

    code: str
    detail: str
    advice: str = "POST /sessions/{id}/repair mends it."
    repairable: bool = True
    message_id: UUID | None = None


@dataclass(frozen=True)
class Report:
    """What a worker found, and with a repair also what it mended.

    `memory_file` is `none`, `current`, `behind` (the next message here brings it up to date) or
    `wrong`. `busy`: the repair was not begun, since a message is in progress.
    """

    host: str
    worker_id: UUID
    generation: int
    items: int
    messages: int
    memory_file: str
    memory_file_items: int | None
    findings: Sequence[Finding]
    mended: Sequence[Finding] = ()
    busy: bool = False
