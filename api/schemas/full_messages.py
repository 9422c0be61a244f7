"""A message with everything that its attempts left behind."""

from typing import Any, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Answer, columns
from api.schemas.messages import MESSAGE, AttemptOut, MessageOut
from shared.store.messages import FullMessage

_FULL = MESSAGE | {"tool_calls": [], "responses": [], "items": [], "attempts": []}


class ToolCallOut(Answer):
    """One call of a tool."""

    call_id: str
    name: str
    arguments: str = Field(description="JSON, as the model wrote it.")
    output: str | None = Field(description="What the tool answered; null: nothing.")


class ModelCallOut(Answer):
    """One call of the model, as it went."""

    number: int = Field(description="Counts from 1 within the attempt.")
    model: str = Field(description="Which model served, or was asked.")
    response_id: str | None
    request_id: str | None
    request: dict[str, Any] | None = Field(
        description="The body that the model's server got, without the conversation: `/items`."
    )
    usage: dict[str, Any] | None = Field(description="Tokens; null: the server did not say.")
    raw: Any = Field(description="The body as the model's server sent it; null: an error.")
    error: str | None = Field(description="The kind of error, without the server's words.")
    started_at: float = Field(description="In seconds since 1970.")
    ended_at: float = Field(description="In seconds since 1970.")


class FullMessageOut(MessageOut):
    """A message with the full response."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FULL]})

    tool_calls: list[ToolCallOut]
    responses: list[ModelCallOut] = Field(description="Each call of the model.")
    items: list[dict[str, Any]] = Field(description="What the conversation remembers of it.")
    attempts: list[AttemptOut]

    @classmethod
    def of_full(cls, full: FullMessage) -> Self:
        """Show everything."""
        tool_calls = full.response.tool_calls if full.response else ()
        responses = full.response.responses if full.response else ()
        return cls(
            message_id=full.message.id,
            # not checked: a model's words are shown as they came, half a surrogate pair too
            tool_calls=[ToolCallOut.model_construct(**call) for call in tool_calls],
            responses=[ModelCallOut.model_construct(**call) for call in responses],
            items=[item.item for item in full.items],
            attempts=[AttemptOut.of(attempt) for attempt in full.attempts],
            **columns(full.message, MessageOut),
        )
