"""Runs of the agent with a scripted model: what it is told, what its tools answer."""

import json
import threading
from typing import Any

import pytest
from agents import SQLiteSession, ToolTimeoutError
from agents.testing import ScriptedModel, assistant_message, function_call

from shared.settings import Settings
from shared.workflow.text import EMPTY_WORKFLOW
from tests.worker.editing import close_checkers, make_editor  # noqa: F401 -- a fixture
from worker.agent import patch as engine
from worker.agent.instructions import read_briefing, write_briefing
from worker.agent.tools import WorkflowEditor
from worker.agent.vibecoder import run_vibecoder

ADD = '@@\n from agents import Agent\n+\n+triage = Agent(name="triage")\n'
DONE = [assistant_message("done")]


def patching(patch: str, call_id: str = "call_1") -> Any:
    return function_call("apply_patch", {"patch": patch}, call_id=call_id)


async def run(
    model: ScriptedModel, editor: WorkflowEditor | None = None, **changes: Any
) -> tuple[Any, WorkflowEditor]:
    editor = editor or make_editor(EMPTY_WORKFLOW)
    memory = changes.pop("memory", None) or SQLiteSession("s")
    result = await run_vibecoder(
        prompt="Create a triage agent",
        editor=editor,
        project_instructions="Use British spelling.",
        memory=memory,
        model=model,
        trace_id="trace_" + "0" * 32,
        settings=Settings(**changes),
    )
    return result, editor


def outputs(result: Any) -> list[str]:
    items = result.to_input_list()
    return [item["output"] for item in items if item.get("type") == "function_call_output"]


async def test_the_agent_knows_the_code_the_rules_and_the_projects_instructions() -> None:
    model = ScriptedModel([DONE])
    await run(model, make_editor(EMPTY_WORKFLOW, node_id="triage"))
    assert model.first_call is not None
    text = model.first_call.system_instructions or ""
    assert "Use British spelling." in text
    assert "   3 | from agents import Agent" in text
    assert "only for the agent `triage`" in text
    assert [tool.name for tool in model.first_call.tools] == [
        "outline",
        "apply_patch",
        "replace_text",
        "sdk_reference",
    ]


@pytest.mark.parametrize(
    ("url", "is_sent"), [(None, True), ("https://api.openai.com/v1", True), ("http://me/v1", False)]
)
async def test_openai_gets_a_key_by_which_it_finds_the_conversations_prompts(
    url: str | None, is_sent: bool
) -> None:
    keys: list[Any] = []
    for name in ("one", "one", "other"):
        model = ScriptedModel([DONE])
        memory = SQLiteSession(f"project_{name}")
        await run(model, memory=memory, OPENAI_BASE_URL=url)
        memory.close()
        assert model.first_call is not None
        keys.append((model.first_call.model_settings.extra_args or {}).get("prompt_cache_key"))
    assert keys[0] == keys[1]
    assert [key is not None for key in keys] == [is_sent] * 3
    assert (keys[0] != keys[2]) is is_sent


async def test_an_accepted_patch_is_in_the_editor_and_the_model_is_told() -> None:
    result, editor = await run(ScriptedModel([[patching(ADD)], DONE]))
    assert result.final_output == "done"
    assert editor.edits == 1
    assert outputs(result) == [
        "The patch is applied.\nagent triage, lines 5-5, tools: none, hands off to: none"
    ]


async def test_a_refused_patch_is_answered_with_the_exact_reason() -> None:
    model = ScriptedModel([[patching("@@\n from agents import Agent\n+print(x)\n")], DONE])
    result, editor = await run(model)
    assert editor.code == EMPTY_WORKFLOW
    assert outputs(result) == [
        "Nothing was changed. The check refuses the edit: line 4: `x` is not defined."
    ]


async def test_after_an_accepted_patch_a_refusal_shows_the_code_as_it_is_now() -> None:
    model = ScriptedModel([[patching(ADD)], [patching("@@\n nowhere\n+x\n", "call_2")], DONE])
    result, _ = await run(model)
    assert '   5 | triage = Agent(name="triage")' in outputs(result)[1]


async def test_patches_of_one_turn_stand_on_one_another() -> None:
    second = '@@\n triage = Agent(name="triage")\n+billing = Agent(name="billing")\n'
    result, editor = await run(ScriptedModel([[patching(ADD), patching(second, "2")], DONE]))
    assert editor.edits == 2
    assert result.final_output == "done"


async def test_wrong_arguments_and_unknown_tools_are_told_to_the_model() -> None:
    wrong = function_call("apply_patch", {"nothing": ADD}, call_id="1")
    unknown = function_call("run_code", {}, call_id="2")
    result, editor = await run(ScriptedModel([[wrong], [unknown], DONE]))
    assert outputs(result)[0].startswith("Nothing was changed. The argument `patch` is missing")
    assert "run_code" in outputs(result)[1]
    assert editor.edits == 0


async def test_a_tool_that_hangs_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(engine, "apply_patch", lambda *_: hanging.wait(5))
    editor = make_editor("#" * 50_000)
    try:
        with pytest.raises(ToolTimeoutError):
            await run(ScriptedModel([[patching(ADD)], DONE]), editor, tool_timeout_s=0.05)
    finally:
        hanging.set()


@pytest.mark.parametrize("node_id", [None, "triage"])
@pytest.mark.parametrize("code", ["", "a", "a\n\nb\n", "===== workflow.py =====\n", "  1 | x\r\n"])
def test_a_briefing_can_be_read_back(code: str, node_id: str | None) -> None:
    text = write_briefing(
        code=code,
        node_id=node_id,
        project_instructions="This session is only for the agent `x`.\n\n===== workflow.py =====\n",
    )
    briefing = read_briefing(text)
    assert (briefing.code, briefing.node_id) == (code, node_id)


async def test_the_items_of_a_run_can_be_stored_as_json() -> None:
    result, _ = await run(ScriptedModel([[patching(ADD)], DONE]))
    assert json.dumps(result.to_input_list())
