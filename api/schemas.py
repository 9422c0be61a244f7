"""What goes in and out over HTTP."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from shared.store.messages import FullMessage, OnBusy
from shared.store.sessions import SessionSummary
from shared.tables import Attempt, Item, Message, MessageStatus, Project, Revision
from shared.workflow import Workflow, parse_workflow

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
TRACE_ID = "trace_0af7651916cd43dd8448eb211c80319c"
_PROJECT_ID = "3f8a1c52-8a0b-4b9e-9a44-0c4f6d1f2b11"
_SESSION_ID = "9d2f6f0e-0f5c-4b0c-8a36-6f3f5b7d9a20"


def _storable(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("must not contain NUL or half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
NodeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class Body(BaseModel):
    """A request's body: unknown members are an error, so that a typo is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Traced(BaseModel):
    """An answer; `trace_id` is that of the request or of the POST that made the message."""

    trace_id: str = Field(description="Equals the header `X-Trace-Id`.", examples=[TRACE_ID])


class ProjectIn(Body):
    """A new project; without `code` it begins as an empty workflow."""

    name: Name = Field(examples=["Customer support"])
    code: Text | None = Field(None, description="A Python module that uses the Agents SDK.")
    instructions: Text = Field(
        "", max_length=20_000, description="What VibeCoder heeds in this project."
    )


class ProjectPatch(Body):
    """What to change; a missing member stays."""

    name: Name | None = Field(None, examples=["Customer support, second try"])
    code: Text | None = None
    instructions: Annotated[Text, StringConstraints(max_length=20_000)] | None = None


class NodeOut(BaseModel):
    """One agent of the workflow."""

    node_id: str = Field(examples=["triage"])
    name: str = Field(examples=["triage"])
    line: int
    end_line: int
    instructions: str | None
    model: str | None
    tools: list[str]
    handoffs: list[str]


class EdgeOut(BaseModel):
    """One handoff, by node ids."""

    source: str
    target: str


class ToolOut(BaseModel):
    """One tool that the module defines."""

    name: str
    line: int
    end_line: int
    description: str | None


class ProjectSummary(Traced):
    """A project without its code."""

    id: UUID = Field(examples=[_PROJECT_ID])
    name: str = Field(examples=["Customer support"])
    instructions: str
    revision: int = Field(description="The number of the code's newest revision.", examples=[1])
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, project: Project, *, trace_id: str) -> Self:
        """Show a project."""
        return cls(trace_id=trace_id, **_columns(project, cls))


class ProjectOut(BaseModel):
    """A project with its code."""

    id: UUID = Field(examples=[_PROJECT_ID])
    name: str = Field(examples=["Customer support"])
    instructions: str
    code: str = Field(description="One Python module that uses the OpenAI Agents SDK.")
    revision: int = Field(description="The number of the code's newest revision.", examples=[1])
    nodes: list[NodeOut] = Field(description="The agents that the code defines.")
    created_at: datetime
    updated_at: datetime
    trace_id: str = Field(examples=[TRACE_ID])

    @classmethod
    def of(cls, project: Project, *, trace_id: str) -> Self:
        """Show a project; parses its code."""
        nodes = [vars(node) for node in parse_workflow(project.code).nodes]
        return cls(
            trace_id=trace_id,
            nodes=[NodeOut.model_validate(node) for node in nodes],
            **_columns(project, cls),
        )


class ProjectDeleted(Traced):
    """A project that is gone."""

    id: UUID = Field(examples=[_PROJECT_ID])
    status: Literal["deleted"] = "deleted"


class WorkflowOut(Traced):
    """What the code defines."""

    project_id: UUID = Field(examples=[_PROJECT_ID])
    revision: int
    nodes: list[NodeOut]
    tools: list[ToolOut]
    edges: list[EdgeOut]

    @classmethod
    def of(cls, project: Project, workflow: Workflow, *, trace_id: str) -> Self:
        """Show a parsed workflow."""
        return cls(
            trace_id=trace_id,
            project_id=project.id,
            revision=project.revision,
            nodes=[NodeOut.model_validate(vars(node)) for node in workflow.nodes],
            tools=[ToolOut.model_validate(vars(tool)) for tool in workflow.tools],
            edges=[EdgeOut.model_validate(vars(edge)) for edge in workflow.edges],
        )


class RevisionOut(Traced):
    """One state of a project's code, with what led to it."""

    project_id: UUID = Field(examples=[_PROJECT_ID])
    number: int = Field(examples=[1])
    code: str
    diff: str = Field(description="Unified diff against the revision before.")
    message_id: UUID | None = Field(description="The message that made it; null: a person did.")
    created_at: datetime

    @classmethod
    def of(cls, revision: Revision, *, trace_id: str) -> Self:
        """Show a revision."""
        return cls(trace_id=trace_id, **_columns(revision, cls))


class SessionIn(Body):
    """Which conversation to find or begin; without a body the project's own."""

    node_id: NodeId | None = Field(
        None,
        description="The agent that it is about; null: the whole project.",
        examples=["triage"],
    )
    new: bool = Field(default=False, description="Begin a further conversation on the same place.")
    title: Annotated[Text, StringConstraints(max_length=200)] | None = None


class SessionPatch(Body):
    """What to change."""

    title: Annotated[Text, StringConstraints(max_length=200)] | None = Field(
        examples=["Spanish support"]
    )


class TokenUsage(BaseModel):
    """Tokens of the session's messages."""

    input_tokens: int
    output_tokens: int


class SessionOut(BaseModel):
    """A conversation with VibeCoder."""

    session_id: UUID = Field(examples=[_SESSION_ID])
    project_id: UUID = Field(examples=[_PROJECT_ID])
    type: Literal["global", "node"]
    node_id: str | None
    title: str | None
    openai_session_key: str = Field(
        description="The key of its Agents SDK SQLiteSession.", examples=[f"project_{_PROJECT_ID}"]
    )
    status: Literal["idle", "queued", "running"]
    messages: int = Field(description="Messages since it was last cleared.")
    unfinished: int = Field(description="Those of them that have not ended.")
    usage: TokenUsage
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
            status="running" if summary.running else waiting,
            messages=summary.messages,
            unfinished=summary.unfinished,
            usage=TokenUsage(
                input_tokens=summary.input_tokens, output_tokens=summary.output_tokens
            ),
            created_at=session.created_at,  # type: ignore[arg-type]  # pydantic reads seconds
            trace_id=trace_id,
        )


class SessionCleared(Traced):
    """A session that can be used again, empty."""

    session_id: UUID = Field(examples=[_SESSION_ID])
    status: Literal["cleared"] = "cleared"


class MessageIn(Body):
    """A prompt for VibeCoder."""

    prompt: Annotated[Text, StringConstraints(min_length=1)] = Field(
        examples=["Create a triage agent"]
    )
    on_busy: OnBusy = Field(
        OnBusy.ENQUEUE,
        description="What to do when the session has an unfinished message: wait behind it, "
        "refuse with 409, or cancel it.",
    )
    model: str | None = Field(None, description="A model that this service allows.")


class FailureOut(BaseModel):
    """Why a message ended without a reply."""

    code: str = Field(examples=["model_timeout"])
    detail: str
    retryable: bool
    retry_after: float | None = None


class MessageOut(BaseModel):
    """One prompt and what became of it."""

    model_config = ConfigDict(use_enum_values=True)

    message_id: UUID
    session_id: UUID = Field(examples=[_SESSION_ID])
    project_id: UUID = Field(examples=[_PROJECT_ID])
    status: MessageStatus
    content: str = Field(description="The prompt.", examples=["Create a triage agent"])
    reply: str | None = Field(description="What VibeCoder answered.")
    diff: str = Field(description="Unified diff of the code; empty when it did not change.")
    revision: int | None = Field(description="The revision that it made, if it changed the code.")
    model: str = Field(examples=["offline"])
    usage: dict[str, Any] | None = Field(description="Tokens of all model calls.")
    error: FailureOut | None
    attempt: int = Field(description="How often a worker has begun it.")
    position: int | None = Field(
        None, description="While unfinished: how many messages of the session come first."
    )
    rolled_back: list[UUID] = Field(
        default=[], description="The messages that this one cancelled (`on_busy: rollback`)."
    )
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None
    trace_id: str = Field(examples=[TRACE_ID])

    @classmethod
    def of(
        cls, message: Message, *, position: int | None = None, rolled_back: tuple[UUID, ...] = ()
    ) -> Self:
        """Show a message."""
        return cls(
            message_id=message.id,
            position=position,
            rolled_back=list(rolled_back),
            **_columns(message, cls),
        )


class AttemptOut(BaseModel):
    """One try at a message."""

    number: int
    worker_id: UUID
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: FailureOut | None


class ItemOut(BaseModel):
    """One thing that the model remembers, in the Agents SDK's form."""

    position: int
    message_id: UUID
    item: dict[str, Any]

    @classmethod
    def of(cls, item: Item) -> Self:
        """Show an item."""
        return cls(position=item.position, message_id=item.message_id, item=item.item)


class FullMessageOut(MessageOut):
    """A message with the full response."""

    tool_calls: list[dict[str, Any]] = Field(
        description="Each call of a tool with its arguments and its output."
    )
    responses: list[dict[str, Any]] = Field(
        description="Each call of the model: `raw` is the body as the model's server sent it."
    )
    items: list[dict[str, Any]] = Field(description="What the conversation remembers of it.")
    attempts: list[AttemptOut]

    @classmethod
    def of_full(cls, full: FullMessage) -> Self:
        """Show everything."""
        return cls(
            message_id=full.message.id,
            tool_calls=full.response.tool_calls if full.response else [],
            responses=full.response.responses if full.response else [],
            items=[item.item for item in full.items],
            attempts=[_attempt(attempt) for attempt in full.attempts],
            **_columns(full.message, MessageOut),
        )


class Health(Traced):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(Traced):
    """What the service needs, one by one."""

    status: Literal["ready", "not_ready"]
    database: bool
    broker: bool
    workers: int = Field(description="Workers with a valid lease.")
    model: str


def _attempt(attempt: Attempt) -> AttemptOut:
    return AttemptOut.model_validate(_columns(attempt, AttemptOut))


def _columns(row: object, model: type[BaseModel]) -> dict[str, Any]:
    """Take those members that are columns of the row; times are seconds, pydantic reads them."""
    return {name: getattr(row, name) for name in model.model_fields if hasattr(row, name)}
