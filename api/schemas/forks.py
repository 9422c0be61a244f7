"""Schema of a fork."""

from pydantic import ConfigDict, Field, StrictBool

from api.schemas.common import Body


class ForkIn(Body):
    """The project of the new session; without a body it is the same project."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"copy_project": True}]})

    copy_project: StrictBool = Field(
        default=False,
        description="Work on a copy of the project, with the code as it was after the message.",
    )
