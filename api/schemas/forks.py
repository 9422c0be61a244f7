"""How to fork a message."""

from pydantic import ConfigDict, Field, StrictBool

from api.schemas.common import Body


class ForkIn(Body):
    """What the new session is to work on; without a body the same project."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"copy_project": True}]})

    copy_project: StrictBool = Field(
        default=False,
        description="Work on a copy of the project, with the code as it was after the message.",
    )
