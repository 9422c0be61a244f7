"""Schemas of the check and the repair of a session."""

from collections.abc import Sequence
from typing import Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from api.schemas.common import MESSAGE_ID, SESSION_ID, TRACE_ID, Answer, Traced, columns
from shared.store.checks import IntegrityProblem, SessionSnapshot

_FINDING: dict[str, Any] = {
    "code": "attempt_open",
    "detail": f"Attempt 1 of message {MESSAGE_ID} is not closed; the message is completed.",
    "advice": "POST /sessions/{id}/repair repairs it.",
    "repairable": True,
    "message_id": MESSAGE_ID,
}
_EXAMPLE: dict[str, Any] = {
    "session_id": SESSION_ID,
    "ok": False,
    "generation": 1,
    "items": 8,
    "messages": 2,
    "findings": [_FINDING],
    "trace_id": TRACE_ID,
}


class FindingOut(Answer):
    """One thing that is wrong."""

    code: str = Field(description="The kind of problem, for a program.", examples=["attempt_open"])
    detail: str = Field(description="The problem, for a person.")
    advice: str = Field(description="What to do.")
    repairable: bool = Field(description="Whether a repair removes it.")
    message_id: UUID | None = Field(description="The message that it is about.")

    @classmethod
    def of(cls, problem: IntegrityProblem) -> Self:
        """Show a problem."""
        return cls(**columns(problem, cls))


class CheckOut(Traced):
    """Whether a session's rows agree with each other."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    session_id: UUID = Field(examples=[SESSION_ID])
    ok: bool = Field(description="Whether nothing is wrong.")
    generation: int = Field(description="Grows each time the session is cleared.")
    items: int = Field(description="How many items the model remembers.")
    messages: int = Field(description="All messages of the session, of past generations too.")
    findings: list[FindingOut]

    @classmethod
    def of(
        cls,
        snapshot: SessionSnapshot,
        problems: Sequence[IntegrityProblem],
        *,
        trace_id: str,
        **further: Sequence[IntegrityProblem],
    ) -> Self:
        """Show a session's rows with the problems that were found in them."""
        lists = {"findings": problems} | further
        return cls(
            session_id=snapshot.session.id,
            ok=not problems,
            generation=snapshot.session.generation,
            items=len(snapshot.items),
            messages=len(snapshot.messages),
            trace_id=trace_id,
            **{name: [FindingOut.of(one) for one in found] for name, found in lists.items()},
        )


class RepairOut(CheckOut):
    """The result of a repair: the removed parts, and the session's state now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE | {"ok": True, "findings": [], "mended": [_FINDING]}]
        }
    )

    mended: list[FindingOut] = Field(description="The problems that there were and no longer are.")
