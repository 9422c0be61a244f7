"""What a database says of itself and of the workers on it, for whoever looks for a fault."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, select

from shared import dialects
from shared.dialects import clock
from shared.tables import Worker


@dataclass(frozen=True)
class WorkerSeen:
    """A worker whose lease holds."""

    host: str
    pid: int
    version: str
    running: int
    slots: int


def now(db: Connection) -> float:
    """Read the database's clock."""
    return db.execute(select(clock())).scalar_one()


def most_connections(db: Connection) -> int | None:
    """Read how many connections the server takes; None: there is no server."""
    return db.execute(select(dialects.most_connections())).scalar()


def living_workers(db: Connection) -> Sequence[WorkerSeen]:
    """List the workers whose lease holds, host by host."""
    columns = (Worker.host, Worker.pid, Worker.version, Worker.running, Worker.slots)
    alive = select(*columns).where(Worker.lease_expires_at > clock())
    rows: Sequence[Row[str, int, str, int, int]] = db.execute(
        alive.order_by(Worker.host, Worker.pid)
    ).all()
    return [WorkerSeen(*row) for row in rows]
