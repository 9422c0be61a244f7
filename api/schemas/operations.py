"""What the service says about itself."""

from typing import Literal

from pydantic import ConfigDict, Field

from api.schemas.common import Traced
from shared.keys import Role


class ProblemKind(Traced):
    """A kind of problem: what a problem's `type` leads to."""

    code: str = Field(examples=["session_busy"])
    status: int = Field(description="The HTTP status that it is answered with.", examples=[409])
    title: str = Field(examples=["Session busy"])
    meaning: str = Field(description="What it tells the client.")


class CallerOut(Traced):
    """Who calls."""

    owner: str = Field(description="Whose things they see.", examples=["support"])
    role: Role = Field(description="`read`, `write`, or `admin`: the operator's pages besides.")
    key: str | None = Field(description="The name of their key; null: they came without one.")


class Health(Traced):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(Traced):
    """What the service needs, one by one."""

    model_config = ConfigDict(populate_by_name=True)

    status: Literal["ready", "not_ready"]
    database: bool = Field(description="The database answers.")
    schema_: bool = Field(alias="schema", description="Its schema is this version's, or newer.")
    broker: bool = Field(description="The broker answers.")
    workers: int = Field(description="Workers with a valid lease.")
    model: str
