"""VibeCoder itself: one run of the agent that edits a project's workflow."""

import copy
import dataclasses
import functools

from agents import (
    Agent,
    Model,
    ModelSettings,
    RunConfig,
    Runner,
    RunResult,
    Tool,
    ToolErrorFormatterArgs,
    ToolExecutionConfig,
)
from agents.memory import Session

from shared.settings import Settings
from worker.agent.hooks import Reporter
from worker.agent.instructions import write_briefing
from worker.agent.tools import (
    WorkflowEditor,
    apply_patch,
    outline,
    replace_text,
    sdk_reference,
)
from worker.model.client import cache_settings, retry_settings
from worker.recorder import RunEvents

NAME = "VibeCoder"
_TOOLS = (outline, apply_patch, replace_text, sdk_reference)
_TOOL_NAMES = [tool.name for tool in _TOOLS]


async def run_vibecoder(
    *,
    prompt: str,
    editor: WorkflowEditor,
    project_instructions: str,
    memory: Session,
    model: Model,
    trace_id: str,
    settings: Settings,
    events: RunEvents | None = None,
) -> RunResult:
    """Answer one prompt; the editor has what the agent changes afterwards.

    Lets the SDK's exceptions through; what the editor has then means nothing.
    """
    return await Runner.run(
        _agent(editor, project_instructions, model, settings),
        prompt,
        context=editor,
        max_turns=settings.max_turns,
        hooks=Reporter(events, editor.code) if events else None,
        run_config=_run_config(trace_id, memory.session_id, settings),
        session=memory,
    )


def _agent(
    editor: WorkflowEditor, project_instructions: str, model: Model, settings: Settings
) -> Agent[WorkflowEditor]:
    # copied: the SDK looks into each setting and its type when one is made
    agent = copy.copy(_base_agent(settings))
    agent.instructions = write_briefing(
        code=editor.code,
        node_id=editor.node_id,
        project_instructions=project_instructions,
    )
    agent.model = model
    return agent


@functools.cache
def _base_agent(settings: Settings) -> Agent[WorkflowEditor]:
    return Agent[WorkflowEditor](
        name=NAME,
        model_settings=ModelSettings(
            preserve_raw_usage=True,
            retry=retry_settings(settings),
        ),
        tools=list(_tools(settings.tool_timeout_s)),
    )


@functools.cache
def _tools(timeout_s: float) -> tuple[Tool, ...]:
    # copies of the module's tools: their schemas are made once, at import
    return tuple(dataclasses.replace(tool, timeout_seconds=timeout_s) for tool in _TOOLS)


def _run_config(trace_id: str, session_key: str, settings: Settings) -> RunConfig:
    # copied: making one takes 0.7 ms, in which the SDK evaluates its own type hints
    config = copy.copy(_base_config())
    config.trace_id = trace_id
    config.model_settings = cache_settings(session_key, settings)
    return config


@functools.cache
def _base_config() -> RunConfig:
    return RunConfig(
        workflow_name=NAME,
        # edits of one turn stand on one another
        tool_execution=ToolExecutionConfig(max_function_tool_concurrency=1),
        tool_not_found_behavior="return_error_to_model",
        tool_error_formatter=_unknown_tool,
    )


def _unknown_tool(error: ToolErrorFormatterArgs[WorkflowEditor]) -> str | None:
    """Tell a model that calls a tool which is none what it can call."""
    if error.kind != "tool_not_found":
        return None
    return f"There is no tool `{error.tool_name}`. The tools are: {', '.join(_TOOL_NAMES)}."
