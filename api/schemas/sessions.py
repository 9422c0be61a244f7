"""Sessions and what they remember."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, StringConstraints

from api.schemas.common import PROJECT_ID, SESSION_ID, TIME, TRACE_ID, Answer, Body, Text, Traced
from api.schemas.usage import BUDGET_TOKENS, BUDGET_USD, BudgetTokens, BudgetUsd
from shared.store.sessions import SessionSummary
from shared.tables import Item

_EXAMPLE: dict[str, Any] = {
    "session_id": SESSION_ID,
    "project_id": PROJECT_ID,
    "type": "node",
    "node_id": "triage",
    "title": None,
    "openai_session_key": f"project_{PROJECT_ID}_node_triage",
    "forked_from_message_id": None,
    "status": "idle",
    "messages": 2,
    "unfinished": 0,
    "usage": {"input_tokens": 812, "output_tokens": 96},
    "budget_tokens": 1000000,
    "budget_usd": None,
    "created_at": TIME,
    "trace_id": TRACE_ID,
}

NodeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class SessionIn(Body):
    """The conversation to find or begin; without a body the project's own.

    Title and budgets are for one that begins: one that is found keeps its own.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{}, {"node_id": "triage"}, {"new": True, "title": "Ideas"}]}
    )

    node_id: NodeId | None = Field(
        None,
        description="The agent that it is about; null: the whole project.",
        examples=["triage"],
    )
    new: StrictBool = Field(
        default=False, description="Begin a further conversation on the same place."
    )
    title: Annotated[Text, StringConstraints(max_length=200)] | None = None
    budget_tokens: BudgetTokens | None = BUDGET_TOKENS
    budget_usd: BudgetUsd | None = BUDGET_USD


class SessionPatch(Body):
    """Members to change; a missing member stays, null removes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"title": "Spanish support"}, {"title": None}, {"budget_tokens": 100_000}]
        }
    )

    title: Annotated[Text, StringConstraints(max_length=200)] | None = Field(
        None, examples=["Spanish support"]
    )
    budget_tokens: BudgetTokens | None = BUDGET_TOKENS
    budget_usd: BudgetUsd | None = BUDGET_USD


class TokenUsage(Answer):
    """Tokens of the messages since the session was last cleared; all: `/sessions/{id}/usage`."""

    input_tokens: int
    output_tokens: int


class SessionOut(Answer):
    """A conversation with VibeCoder."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    session_id: UUID = Field(examples=[SESSION_ID])
    project_id: UUID = Field(examples=[PROJECT_ID])
    type: Literal["global", "node"]
    node_id: str | None
    title: str | None
    openai_session_key: str = Field(
        description="The key of its Agents SDK SQLiteSession.", examples=[f"project_{PROJECT_ID}"]
    )
    forked_from_message_id: UUID | None = Field(
        description="The message after which it was forked: what came before is listed in that "
        "message's session, and remembered here. It may be gone."
    )
    status: Literal["idle", "queued", "running"]
    messages: int = Field(description="Messages since it was last cleared.")
    unfinished: int = Field(description="Those of them that have not ended.")
    usage: TokenUsage
    budget_tokens: int | None
    budget_usd: str | None
    created_at: datetime
    trace_id: str = Field(examples=[TRACE_ID])

    @classmethod
    def of(cls, summary: SessionSummary, *, trace_id: str) -> Self:
        """Show a session with its figures."""
        session = summary.session
        waiting: Literal["queued", "idle"] = "queued" if summary.unfinished else "idle"
        return cls(
            session_id=session.id,
            project_id=session.project_id,
            type="node" if session.node_id else "global",
            node_id=session.node_id,
            title=session.title,
            openai_session_key=session.openai_session_key,
            forked_from_message_id=session.forked_from_message_id,
            status="running" if summary.running else waiting,
            messages=summary.messages,
            unfinished=summary.unfinished,
            usage=TokenUsage(
                input_tokens=int(summary.input_tokens), output_tokens=int(summary.output_tokens)
            ),
            budget_tokens=session.budget_tokens,
            budget_usd=session.budget_usd,
            created_at=session.created_at,  # type: ignore[arg-type]  # pydantic reads seconds
            trace_id=trace_id,
        )


class SessionCleared(Traced):
    """A session that can be used again, empty."""

    session_id: UUID = Field(examples=[SESSION_ID])
    status: Literal["cleared"] = "cleared"


class ItemOut(Answer):
    """One thing that the model remembers, in the Agents SDK's form."""

    position: int
    message_id: UUID
    item: dict[str, Any]

    @classmethod
    def of(cls, item: Item) -> Self:
        """Show an item."""
        return cls(position=item.position, message_id=item.message_id, item=item.item)
