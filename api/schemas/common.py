"""Bases of all schemas."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

TRACE_ID = "trace_0af7651916cd43dd8448eb211c80319c"
PROJECT_ID = "3f8a1c52-8a0b-4b9e-9a44-0c4f6d1f2b11"
SESSION_ID = "9d2f6f0e-0f5c-4b0c-8a36-6f3f5b7d9a20"
MESSAGE_ID = "5b1c3c0a-6a57-4c43-93c2-1f0b7e7d1c64"
TIME = "2026-01-31T12:00:00Z"
_MOST_MEMBERS = 100


# PostgreSQL's text has no NUL; half of a surrogate pair is no text for pydantic either
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class Body(BaseModel):
    """A request's body: unknown members are an error, so that a typo is not silently ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_no_flood(cls, value: Any) -> Any:
        """Refuse at once what would be an error for each of a million unknown members."""
        if isinstance(value, dict) and len(value) > _MOST_MEMBERS:
            raise ValueError("It has more members than any request.")
        return value


class Answer(BaseModel):
    """Base of responses: each member is always present, and the description says so."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Traced(Answer):
    """An answer; `trace_id` is that of the request or of the POST that made the message."""

    trace_id: str = Field(description="Equals the header `X-Trace-Id`.", examples=[TRACE_ID])


def without_null(described: dict[str, Any]) -> None:
    """Describe what may be left out as what it is when it is there: it is never null."""
    choices = described.pop("anyOf", [])
    described |= next((choice for choice in choices if choice.get("type") != "null"), {})


def columns(row: object, model: type[BaseModel]) -> dict[str, Any]:
    """Take those members that are columns of the row; times are seconds, pydantic reads them."""
    return {name: getattr(row, name) for name in model.model_fields if hasattr(row, name)}
