"""Claims, outcomes and ends: the arguments and results of transitions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from shared.errors import FailureCode


@dataclass(frozen=True)
class Ended:
    """The work that a transition leaves for the time after its commit.

    `ids` are the messages that ended (waiting clients want to know), `ready` the next messages that
    were marked as enqueued (a worker must be told of them), `stopped` those of the ended that a
    worker runs and need not run on. `codes` says why each ended (None: completed), for counting.
    `has_outbox` tells that there are deliveries to webhooks.
    """

    ids: tuple[UUID, ...] = ()
    ready: tuple[UUID, ...] = ()
    stopped: tuple[UUID, ...] = ()
    codes: tuple[FailureCode | None, ...] = field(default=(), compare=False)
    has_outbox: bool = False

    def __or__(self, other: "Ended") -> "Ended":
        return Ended(
            self.ids + other.ids,
            self.ready + other.ready,
            self.stopped + other.stopped,
            self.codes + other.codes,
            self.has_outbox or other.has_outbox,
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
class Overdue:
    """A message that waits for too long, and its session."""

    id: UUID
    session_id: UUID


@dataclass(frozen=True)
class Outcome:
    """The result of a run: all of it becomes visible with commit 3, or nothing.

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


class RevisionConflict(Exception):
    """Another session changed the project's code since the claim; carries the present state."""

    def __init__(self, code: str, revision: int) -> None:
        super().__init__(f"the project is at revision {revision}")
        self.code = code
        self.revision = revision
