"""Worker processes and their leases."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.statements import CompiledStatement
from shared.store.dispatch import is_in_progress
from shared.tables import Message, Worker


@dataclass(frozen=True)
class Process:
    """What a worker says of itself when it starts."""

    worker_id: UUID
    host: str
    pid: int
    version: str
    slots: int


def register(db: Connection, process: Process, *, lease_s: float) -> None:
    """Insert the worker's row with a fresh lease."""
    db.execute(
        insert(Worker).values(
            id=process.worker_id,
            host=process.host,
            pid=process.pid,
            version=process.version,
            slots=process.slots,
            lease_expires_at=clock() + lease_s,
        )
    )


def beat(
    db: Connection, process: Process, *, lease_s: float, running: int
) -> frozenset[tuple[UUID, int]]:
    """Renew the lease, whatever had become of it; return the (message, attempt) it covers."""
    renewed = db.execute(
        update(Worker)
        .where(Worker.id == process.worker_id)
        .values(lease_expires_at=clock() + lease_s, running=running)
    )
    if renewed.rowcount == 0:  # swept away while this process was stopped
        register(db, process, lease_s=lease_s)
    rows = db.execute(
        select(Message.id, Message.attempt).where(
            Message.worker_id == process.worker_id, is_in_progress()
        )
    )
    return frozenset((row.id, row.attempt) for row in rows)


def retire(db: Connection, worker_id: UUID) -> None:
    """End the lease at once: the process stops and has released what it ran."""
    db.execute(delete(Worker).where(Worker.id == worker_id))


async def end_all_leases(db: AsyncSession) -> None:
    """Remove every worker: for a process that knows that it is the only one."""
    await db.execute(delete(Worker))


async def forget_dead(db: AsyncSession, *, dead_for_s: float) -> None:
    """Remove workers whose lease ended long ago and that hold no message."""
    holds = select(Message.id).where(Message.worker_id == Worker.id, is_in_progress())
    await db.execute(
        delete(Worker)
        .where(Worker.lease_expires_at < clock() - dead_for_s, ~holds.exists())
        .execution_options(synchronize_session=False)
    )


async def alive(db: AsyncSession) -> tuple[int, int]:
    """Count the workers with a lease, and their slots."""
    row = await _ALIVE.first(db, {})
    assert row is not None, "it counts"
    return row.workers, row.slots


_ALIVE = CompiledStatement(
    select(
        func.count().label("workers"), func.coalesce(func.sum(Worker.slots), 0).label("slots")
    ).where(Worker.lease_expires_at > clock())
)
