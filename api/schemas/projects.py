"""Projects, their revisions and the workflow that their code defines."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from api.schemas.common import PROJECT_ID, TIME, TRACE_ID, Answer, Body, Name, Text, Traced, columns
from api.schemas.usage import BUDGET_TOKENS, BUDGET_USD, BudgetTokens, BudgetUsd
from shared.tables import Project, Revision
from shared.workflow.model import MORE, Diagnostic, EdgeKind, Report

_MOST_DIAGNOSTICS = 100
_DIAGNOSTICS = "What would fail when the code runs, and what may not be meant, by lines."

RevisionNumber = Annotated[int, Field(ge=1, le=999_999_999)]

_CODE = """\
from agents import Agent

triage = Agent(name="triage", instructions="Find out what the customer needs.")
"""

_EXAMPLE: dict[str, Any] = {
    "id": PROJECT_ID,
    "name": "Bookings",
    "instructions": "",
    "code": _CODE,
    "revision": 1,
    "nodes": [
        {
            "node_id": "triage",
            "name": "triage",
            "line": 3,
            "end_line": 3,
            "instructions": "Find out what the customer needs.",
            "model": None,
            "tools": [],
            "handoffs": [],
            "kind": "Agent",
            "scope": "",
            "variable": "triage",
            "output_type": None,
            "handoff_description": None,
            "input_guardrails": [],
            "output_guardrails": [],
            "mcp_servers": [],
            "hooks": None,
        }
    ],
    "diagnostics": [],
    "budget_tokens": None,
    "budget_usd": "25.00",
    "created_at": TIME,
    "updated_at": TIME,
    "trace_id": TRACE_ID,
}


class ProjectIn(Body):
    """A new project; without `code` it begins as an empty workflow."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Customer support"},
                {"name": "Bookings", "code": _CODE, "instructions": "Every agent is polite."},
            ]
        }
    )

    name: Name = Field(examples=["Customer support"])
    code: Text | None = Field(None, description="A Python module that uses the Agents SDK.")
    instructions: Text = Field(
        "", max_length=20_000, description="What VibeCoder heeds in this project."
    )
    budget_tokens: BudgetTokens | None = BUDGET_TOKENS
    budget_usd: BudgetUsd | None = BUDGET_USD


class ProjectPatch(Body):
    """Members to change; a missing member stays."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Customer support, second try"},
                {"code": _CODE},
                {"budget_usd": "25.00", "budget_tokens": None},
            ]
        }
    )

    name: Name | None = Field(None, examples=["Customer support, second try"])
    code: Text | None = None
    instructions: Annotated[Text, StringConstraints(max_length=20_000)] | None = None
    budget_tokens: BudgetTokens | None = BUDGET_TOKENS
    budget_usd: BudgetUsd | None = BUDGET_USD


class NodeOut(Answer):
    """One agent that the code makes, wherever it stands. Long texts are cut and end in `...`."""

    node_id: str = Field(
        description="The agent's variable, else its name as an identifier.", examples=["triage"]
    )
    name: str = Field(examples=["triage"])
    line: int
    end_line: int
    instructions: str | None
    model: str | None = Field(description="The model's name, or the expression that makes it.")
    tools: list[str] = Field(examples=[["lookup", "HostedMCPTool(wiki)"]])
    handoffs: list[str] = Field(description="The ids of the agents that it hands off to.")
    kind: str = Field(description="The agent's class.", examples=["Agent", "RealtimeAgent"])
    scope: str = Field(
        description="The function or class around the agent; empty at the top level.",
        examples=["main"],
    )
    variable: str | None = Field(description="The variable that holds the agent.")
    output_type: str | None
    handoff_description: str | None
    input_guardrails: list[str]
    output_guardrails: list[str]
    mcp_servers: list[str]
    hooks: str | None


class EdgeOut(Answer):
    """One handoff, or one agent that another uses as a tool, by node ids."""

    source: str
    target: str
    kind: EdgeKind
    tool_name: str | None = Field(description="The name of the tool, for the kind `tool`.")


class ToolOut(Answer):
    """One tool that the module defines by name."""

    name: str
    line: int
    end_line: int
    description: str | None
    kind: str = Field(
        description="The function or the class that makes it.",
        examples=["function_tool", "WebSearchTool", "as_tool"],
    )
    scope: str = Field(description="The function or class around it; empty at the top level.")


class UnresolvedOut(Answer):
    """One part of the workflow that only a run decides."""

    line: int
    node_id: str | None = Field(description="The agent; null where that is open, too.")
    field: str = Field(description="The agent's argument.", examples=["handoffs"])
    text: str = Field(examples=["`load_agents()` is computed when the program runs"])


class DiagnosticOut(Answer):
    """One problem of the code."""

    line: int
    rule: str = Field(description="The kind of problem.", examples=["unknown-argument"])
    severity: Literal["error", "warning"] = Field(
        description="`error`: it fails when the module runs; `warning`: it may be meant."
    )
    message: str


def _listed(found: Sequence[Diagnostic]) -> list[DiagnosticOut]:
    shown = [DiagnosticOut.model_validate(vars(item)) for item in found[:_MOST_DIAGNOSTICS]]
    if rest := len(found) - len(shown):
        text = f"there are {rest} more problems"
        last = found[-1].line
        shown.append(DiagnosticOut(line=last, rule=MORE, severity="warning", message=text))
    return shown


class ProjectSummary(Traced):
    """A project without its code."""

    id: UUID = Field(examples=[PROJECT_ID])
    name: str = Field(examples=["Customer support"])
    instructions: str
    revision: int = Field(description="The number of the code's newest revision.", examples=[1])
    budget_tokens: int | None
    budget_usd: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, project: Project, *, trace_id: str) -> Self:
        """Show a project."""
        return cls(trace_id=trace_id, **columns(project, cls))


class ProjectOut(Answer):
    """A project with its code."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID = Field(examples=[PROJECT_ID])
    name: str = Field(examples=["Customer support"])
    instructions: str
    code: str = Field(description="One Python module that uses the OpenAI Agents SDK.")
    revision: int = Field(description="The number of the code's newest revision.", examples=[1])
    nodes: list[NodeOut] = Field(description="The agents that the code defines.")
    diagnostics: list[DiagnosticOut] = Field(description=_DIAGNOSTICS)
    budget_tokens: int | None
    budget_usd: str | None
    created_at: datetime
    updated_at: datetime
    trace_id: str = Field(examples=[TRACE_ID])

    @classmethod
    def of(cls, project: Project, report: Report, *, trace_id: str) -> Self:
        """Show a project with the report on its code."""
        nodes = [vars(node) for node in report.workflow.nodes]
        return cls(
            trace_id=trace_id,
            nodes=[NodeOut.model_validate(node) for node in nodes],
            diagnostics=_listed(report.diagnostics),
            **columns(project, cls),
        )


class ProjectDeleted(Traced):
    """A project that is gone."""

    id: UUID = Field(examples=[PROJECT_ID])
    status: Literal["deleted"] = "deleted"


class WorkflowOut(Traced):
    """The agents, tools and edges that the code defines."""

    project_id: UUID = Field(examples=[PROJECT_ID])
    revision: int
    nodes: list[NodeOut]
    tools: list[ToolOut]
    edges: list[EdgeOut]
    diagnostics: list[DiagnosticOut] = Field(description=_DIAGNOSTICS)
    unresolved: list[UnresolvedOut] = Field(
        description="Parts that cannot be read from the code, as only a run decides them."
    )

    @classmethod
    def of(cls, project: Project, report: Report, *, trace_id: str) -> Self:
        """Show the report on a project's code."""
        workflow = report.workflow
        return cls(
            trace_id=trace_id,
            project_id=project.id,
            revision=project.revision,
            nodes=[NodeOut.model_validate(vars(node)) for node in workflow.nodes],
            tools=[ToolOut.model_validate(vars(tool)) for tool in workflow.tools],
            edges=[EdgeOut.model_validate(vars(edge)) for edge in workflow.edges],
            diagnostics=_listed(report.diagnostics),
            unresolved=[UnresolvedOut.model_validate(vars(item)) for item in workflow.unresolved],
        )


class RevisionOut(Traced):
    """One state of a project's code, with what led to it."""

    project_id: UUID = Field(examples=[PROJECT_ID])
    number: int = Field(examples=[1])
    code: str
    diff: str = Field(description="Unified diff against the revision before.")
    message_id: UUID | None = Field(description="The message that made it; null: a person did.")
    created_at: datetime

    @classmethod
    def of(cls, revision: Revision, *, trace_id: str) -> Self:
        """Show a revision."""
        return cls(trace_id=trace_id, **columns(revision, cls))
