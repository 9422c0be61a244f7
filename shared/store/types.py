"""What passes between a claimed message's transitions and the attempt that asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select

from shared.errors import FailureCode
from shared.tables import Message, Project, VibeSession


@dataclass(frozen=True)
class Ended:
    """What a transition leaves to be done after its commit.

    `ids` are the messages that ended (waiting clients want to know), `heads` those that became
    ready and are marked as hinted (a worker must hear of them), `stopped` those of the ended that
    a worker runs and need not run on. `codes` says why each ended (None: completed), for counting.
    `outbox` tells that webhooks may have to hear of it.
    """

    ids: tuple[UUID, ...] = ()
    heads: tuple[UUID, ...] = ()
    stopped: tuple[UUID, ...] = ()
    codes: tuple[FailureCode | None, ...] = field(default=(), compare=False)
    outbox: bool = False

    def __or__(self, other: "Ended") -> "Ended":
        return Ended(
            self.ids + other.ids,
            self.heads + other.heads,
            self.stopped + other.stopped,
            self.codes + other.codes,
            self.outbox or other.outbox,
        )


@dataclass(frozen=True)
class Claim:
    """A message that this worker alone may answer, with all that an attempt needs to know.

    `queued_at` and `claimed_at` are the database's times: since when it waited, and of this claim.
    `item_count` and `last_message_id` say what the memory is: until this attempt or a later one
    ends the message, nothing else changes it in this generation. `event_count` is the number of
    the event that it was claimed; `streamed` says that somebody wanted to watch by then.
    `waited_s` is how long it was queued; None: it was taken over from a lost worker.
    """

    message_id: UUID
    attempt: int
    session_id: UUID
    project_id: UUID
    owner: str
    generation: int
    openai_session_key: str
    node_id: str | None
    prompt: str
    model: str
    trace_id: str
    instructions: str
    code: str
    revision: int
    conflict_count: int
    queued_at: float
    claimed_at: float
    item_count: int
    last_message_id: UUID | None
    event_count: int
    streamed: bool
    waited_s: float | None
    session_budget_tokens: int | None = None
    session_budget_usd: str | None = None
    project_budget_tokens: int | None = None
    project_budget_usd: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run gave: all of it becomes visible with commit 3, or nothing.

    `diff` leads from the project's code at `base_revision` to `code`; empty: nothing changed.
    """

    reply: str
    base_revision: int
    code: str
    diff: str
    items: Sequence[dict[str, Any]]
    responses: Sequence[Any]
    tool_calls: Sequence[Any]


class Call(Protocol):
    """One call of the model as it is recorded, whether it gave a response or an error."""

    @property
    def number(self) -> int:
        """Count from 1 within the attempt."""

    @property
    def model(self) -> str:
        """Name the model that served, or was asked."""

    @property
    def usage(self) -> dict[str, Any] | None:
        """Give the tokens that it cost, if the server said."""

    @property
    def error(self) -> str | None:
        """Name the kind of error, without the server's words."""

    @property
    def started_at(self) -> float:
        """Give the time in seconds since 1970."""

    @property
    def ended_at(self) -> float:
        """Give the time in seconds since 1970."""


class LeaseLost(Exception):
    """The message is no longer this attempt's: cancelled, cleared, or taken over."""


class CodeMoved(Exception):
    """Another session changed the project's code since the claim; carries the present state."""

    def __init__(self, code: str, revision: int) -> None:
        super().__init__(f"the project is at revision {revision}")
        self.code = code
        self.revision = revision


CLAIMED = (
    select(
        Message.id.label("message_id"),
        Message.attempt,
        Message.session_id,
        Message.project_id,
        Project.owner,
        Message.generation,
        VibeSession.openai_session_key,
        VibeSession.node_id,
        Message.content.label("prompt"),
        Message.model,
        Message.trace_id,
        Project.instructions,
        Project.code,
        Project.revision,
        Message.conflict_count,
        Message.queued_at,
        Message.claimed_at,
        VibeSession.item_count,
        VibeSession.last_message_id,
        Message.event_count,
        Message.streamed,
        VibeSession.budget_tokens.label("session_budget_tokens"),
        VibeSession.budget_usd.label("session_budget_usd"),
        Project.budget_tokens.label("project_budget_tokens"),
        Project.budget_usd.label("project_budget_usd"),
        (Message.claimed_at - Message.queued_at).label("waited_s"),
    )
    .join(VibeSession, VibeSession.id == Message.session_id)
    .join(Project, Project.id == Message.project_id)
)
"""Messages with what a claim says of them, by the names of its fields."""


def as_claim(row: Any) -> Claim:
    """Gather what an attempt needs to know from a row of `CLAIMED`."""
    return Claim(**{name: getattr(row, name) for name in Claim.__dataclass_fields__})
