"""What a worker found when it looked at a session."""

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from api.schemas.common import MESSAGE_ID, SESSION_ID, TRACE_ID, Answer, Traced, columns
from shared.checks import Finding, Report

_WORKER_ID = "1b0f6a52-57a8-4a3c-8a33-0f8f2f1f6c11"
_FINDING: dict[str, Any] = {
    "code": "attempt_open",
    "detail": f"Attempt 1 of message {MESSAGE_ID} is not closed; the message is completed.",
    "advice": "POST /sessions/{id}/repair mends it.",
    "repairable": True,
    "message_id": MESSAGE_ID,
}
_EXAMPLE: dict[str, Any] = {
    "session_id": SESSION_ID,
    "host": "worker-1",
    "worker_id": _WORKER_ID,
    "ok": False,
    "generation": 1,
    "items": 8,
    "messages": 2,
    "memory_file": "current",
    "memory_file_items": 8,
    "findings": [_FINDING],
    "trace_id": TRACE_ID,
}


class FindingOut(Answer):
    """One thing that is wrong."""

    code: str = Field(description="What kind of thing, for a program.", examples=["attempt_open"])
    detail: str = Field(description="What is wrong.")
    advice: str = Field(description="What to do.")
    repairable: bool = Field(description="Whether a repair mends it.")
    message_id: UUID | None = Field(description="The message that it is about.")

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Show a finding."""
        return cls(**columns(finding, cls))


class CheckOut(Traced):
    """What a worker found in a session's rows and in its own memory file of the session."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    session_id: UUID = Field(examples=[SESSION_ID])
    host: str = Field(description="Where the worker runs, and the memory file is.")
    worker_id: UUID = Field(examples=[_WORKER_ID])
    ok: bool = Field(description="Whether nothing is wrong.")
    generation: int = Field(description="Grows each time the session is cleared.")
    items: int = Field(description="What the model remembers, as the database has it.")
    messages: int = Field(description="All messages of the session, of past generations too.")
    memory_file: Literal["none", "current", "behind", "wrong"] = Field(
        description="This host's copy of the items. `none` and `behind` are fine: the next message "
        "that runs here brings it up to date."
    )
    memory_file_items: int | None
    findings: list[FindingOut]

    @classmethod
    def of(cls, report: Report, *, session_id: UUID, trace_id: str) -> Self:
        """Show a report."""
        members = columns(report, cls) | {
            name: [FindingOut.of(finding) for finding in getattr(report, name)]
            for name in ("findings", "mended")
            if name in cls.model_fields
        }
        ok = not report.findings
        return cls(**members, session_id=session_id, ok=ok, trace_id=trace_id)


class RepairOut(CheckOut):
    """What a repair mended, and how the session is now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE | {"ok": True, "findings": [], "mended": [_FINDING]}]
        }
    )

    mended: list[FindingOut] = Field(description="What was wrong and no longer is.")
