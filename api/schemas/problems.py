"""Problems, as the OpenAPI document describes them; api/problems.py makes them."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import without_null


def _without_nulls(schema: dict[str, Any]) -> None:
    for described in schema["properties"].values():
        without_null(described)
        described.pop("default", None)


class _Sparse(BaseModel):
    """A schema whose optional members are absent rather than null."""

    model_config = ConfigDict(json_schema_extra=_without_nulls)


class InvalidPart(_Sparse):
    """One thing that is wrong with a request: where, and what."""

    pointer: str | None = Field(None, description="JSON pointer into the body.")
    parameter: str | None = Field(None, description="Name of the query, path or header parameter.")
    line: int | None = Field(None, description="Line of the workflow module.")
    detail: str = Field(description="What is wrong there.")


class Problem(_Sparse):
    """An RFC 9457 problem; some kinds have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The kind of problem, as a relative URI that explains it.")
    title: str = Field(description="The kind of problem, for a person.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened and what to do.")
    instance: str = Field(description="The path of the request.")
    trace_id: str = Field(description="Finds the request in the logs; `X-Trace-Id` equals it.")
    code: str = Field(description="The kind of problem, for a program.")
    errors: list[InvalidPart] | None = Field(None, description="What is wrong with the request.")
    message_id: UUID | None = Field(None, description="The message that it is about.")
    retryable: bool | None = Field(None, description="Whether the same prompt may succeed later.")
