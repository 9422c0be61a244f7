"""How long it took until what a killed worker had was taken by another."""

from collections.abc import Mapping
from uuid import UUID

from shared.tables import AttemptOutcome
from tests.faults.invariants import Record


def recoveries(record: Record, killed: Mapping[UUID, float]) -> list[tuple[float, float]]:
    """List when each lost attempt's worker was killed, by us, and when its message was taken."""
    found = []
    for attempt in record.attempts:
        killed_at = killed.get(attempt.worker_id)
        if attempt.outcome == AttemptOutcome.LOST and killed_at is not None:
            later = record.attempts_of(attempt.message_id)[attempt.number :]
            ended_at = record.messages[attempt.message_id].ended_at or attempt.started_at
            taken_at = later[0].started_at if later else ended_at
            if attempt.started_at <= killed_at <= taken_at:
                found.append((killed_at, taken_at))
    return found
