"""What the editor takes, what it refuses, and that a refusal changes nothing."""

import json
from typing import Any

import pytest
from agents.tool_context import ToolContext
from openai.types.responses import ResponseFunctionToolCall

from shared.workflow.text import EMPTY_WORKFLOW
from tests.worker.editing import close_checkers, make_editor  # noqa: F401 -- a fixture
from worker.agent import tools
from worker.agent.patch_text import PatchRejected
from worker.agent.rebase import RebaseConflict
from worker.agent.tools import WorkflowEditor
from worker.failures import EditRepeated, failure_from
from worker.model.answers import make_encodable

TRIAGE = EMPTY_WORKFLOW + '\ntriage = Agent(\n    name="triage",\n)\n'
ADD = '@@\n from agents import Agent\n+\n+billing = Agent(name="billing")\n'
NOWHERE = "@@\n nothing like this\n+x = 1\n"


async def rejected(patch: str, editor: WorkflowEditor) -> str:
    before = editor.code
    with pytest.raises(PatchRejected) as caught:
        await editor.apply_patch(patch)
    assert (editor.code, editor.edits) == (before, 0)
    return str(caught.value)


async def call(tool: Any, editor: WorkflowEditor, arguments: str) -> str:
    context = ToolContext(
        editor, tool_name=tool.name, tool_call_id="call_1", tool_arguments=arguments
    )
    return str(await tool.on_invoke_tool(context, arguments))


async def test_an_accepted_patch_is_in_the_code() -> None:
    editor = make_editor(TRIAGE)
    report = await editor.apply_patch(ADD)
    assert 'Agent\n\nbilling = Agent(name="billing")\n' in editor.code
    assert editor.edits == 1
    assert [node.node_id for node in report.workflow.nodes] == ["billing", "triage"]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (
            '@@\n     name="triage",\n+    handoffs=[billing],\n',
            "The check refuses the edit: line 7: `billing` is not defined.",
        ),
        ("@@\n from agents import Agent\n+#" + "x" * 10_000, "The module would have 10"),
        (NOWHERE, "The hunk does not apply."),
    ],
)
async def test_a_refused_patch_says_why_and_changes_nothing(patch: str, reason: str) -> None:
    assert (await rejected(patch, make_editor(TRIAGE, limit=10_000))).startswith(reason)


async def test_a_node_session_is_held_to_its_node() -> None:
    reason = await rejected(ADD, make_editor(TRIAGE, node_id="triage"))
    assert "This session is only for the agent `triage`: it adds the agent" in reason


async def test_a_node_session_may_mend_the_tool_that_it_added() -> None:
    editor = make_editor(TRIAGE, node_id="triage")
    await editor.apply_patch(
        "@@\n-from agents import Agent\n+from agents import Agent, function_tool\n+\n"
        "+@function_tool\n+def t() -> int:\n+    return 1\n+\n"
    )
    await editor.replace_text("return 1", "return 2")
    assert editor.edits == 2


async def test_accepted_edits_are_carried_to_other_code_with_the_same_checks() -> None:
    editor = make_editor(TRIAGE)
    await editor.apply_patch(ADD)
    other = TRIAGE + "\nLIMIT = 3\n"
    assert await editor.rebased(other) == other.replace(
        "import Agent\n", 'import Agent\n\nbilling = Agent(name="billing")\n'
    )
    with pytest.raises(RebaseConflict):
        await editor.rebased(TRIAGE + 'billing = Agent(name="billing")\n')


async def test_what_is_wrong_on_other_code_is_refused_there() -> None:
    limit = TRIAGE.replace("import Agent\n", "import Agent\n\nLIMIT = 3\n")
    editor = make_editor(limit)
    await editor.replace_text('name="triage",\n', 'name="triage",\n    instructions=str(LIMIT),\n')
    with pytest.raises(PatchRejected, match="`LIMIT` is not defined"):
        await editor.rebased(TRIAGE)


async def test_a_rewrite_is_not_carried_to_other_code() -> None:
    editor = make_editor(TRIAGE)
    await editor.apply_patch(
        "*** Add File: workflow.py\n+from agents import Agent\n+front = Agent(name='f')\n"
    )
    with pytest.raises(RebaseConflict):
        await editor.rebased(TRIAGE + "\nLIMIT = 3\n")


async def test_a_rewrite_says_which_definitions_it_left_out() -> None:
    rewrite = "from agents import Agent\n\nfront = Agent(name='front')\n"
    answer = await call(tools.apply_patch, make_editor(TRIAGE), json.dumps({"patch": rewrite}))
    assert answer.startswith("The patch is applied.\nNo longer defined: triage.\n")


# --- arguments as models send them ---

PATCH = "*** Begin Patch\n*** Update File: workflow.py\n" + ADD + "*** End Patch"


@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps({"patch": PATCH}),
        json.dumps({"input": PATCH}),
        json.dumps({"diff": PATCH}),
        json.dumps({"patch_text": PATCH}),
        json.dumps({"patch": PATCH, "explanation": "adds billing", "path": "workflow.py"}),
        json.dumps(PATCH),
        json.dumps(json.dumps({"patch": PATCH})),
        json.dumps({"patch": json.dumps({"patch": PATCH})}),
        json.dumps({"input": {"patch": PATCH}["patch"].replace("\n", "\\n")}),
        json.dumps({"command": ["apply_patch", PATCH]}),
        json.dumps({"patch": PATCH.split("\n")}),
        json.dumps({"patch": PATCH}).replace("\\n", "\n"),
        PATCH,
    ],
    ids=range(13),
)
async def test_a_patch_is_found_in_the_arguments_however_they_are_written(arguments: str) -> None:
    editor = make_editor(TRIAGE)
    answer = await call(tools.apply_patch, editor, arguments)
    assert answer.startswith("The patch is applied.")
    assert editor.code.count('billing = Agent(name="billing")') == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"patch": "@@', "The arguments are not valid JSON"),
        ("{}", "The argument `patch` is missing or is no text"),
        ("", "The patch is empty"),
        ("[1]", "The arguments are not a JSON object"),
        ("null", "The arguments are not a JSON object"),
        ('{"patch": 3}', "The argument `patch` is missing or is no text"),
        ('{"patch": null, "input": []}', "The argument `patch` is missing or is no text"),
        ("[" * 100_000, "The arguments are nested too deeply"),
        ("9" * 10_000, "The patch has no line that begins with"),
        (json.dumps({"patch": ADD, "path": "tools.py"}), "The patch names the file `tools.py`"),
        ('{"patch": "@@\\n+x = \\"\\ud83d\\"\\n"}', "The edit contains half a character"),
        ('{"patch": "@@\\n+x = \\"\\u0000\\"\\n"}', "The edit contains a NUL character"),
    ],
    ids=range(12),
)
async def test_wrong_arguments_are_answered_with_what_is_wrong(arguments: str, reason: str) -> None:
    editor = make_editor(TRIAGE)
    answer = await call(tools.apply_patch, editor, arguments)
    assert answer.startswith(f"Nothing was changed. {reason}")
    assert answer.encode()
    assert editor.code == TRIAGE


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"patch": "\\ud83d"}', "The edit contains half a character"),
        ("[" * 100_000, "The arguments are not valid JSON"),
        ('{"patch":' * 300 + "1" + "}" * 300, "The arguments are not valid JSON"),
    ],
    ids=range(3),
)
async def test_arguments_that_the_sdk_cannot_read_reach_the_tool(
    arguments: str, reason: str
) -> None:
    call_of_tool = ResponseFunctionToolCall(
        type="function_call", name="apply_patch", call_id="1", arguments=arguments
    )
    make_encodable([call_of_tool])
    answer = await call(tools.apply_patch, make_editor(TRIAGE), call_of_tool.arguments)
    assert answer.startswith(f"Nothing was changed. {reason}")


@pytest.mark.parametrize(
    "arguments",
    [
        {"old": '"triage"', "new": '"front"'},
        {"old_string": '"triage"', "new_string": '"front"'},
        {"search": '"triage"', "replace": '"front"', "file_path": "./workflow.py"},
    ],
    ids=range(3),
)
async def test_a_text_is_replaced(arguments: dict[str, str]) -> None:
    editor = make_editor(TRIAGE)
    answer = await call(tools.replace_text, editor, json.dumps(arguments))
    assert answer.startswith('The text is replaced.\nagent triage named "front", lines 5-7')


async def test_a_text_without_its_replacement_is_not_removed() -> None:
    answer = await call(tools.replace_text, make_editor(TRIAGE), '{"old": "triage"}')
    assert answer.startswith("Nothing was changed. The argument `new` is missing")


async def test_the_reference_describes_a_name() -> None:
    answer = await call(tools.sdk_reference, make_editor(TRIAGE), '{"name": "Agent.as_tool"}')
    assert answer.startswith("agents.Agent.as_tool(self, tool_name: str | None")


# --- edits that are refused again ---


async def test_the_third_identical_refused_edit_ends_the_run() -> None:
    editor = make_editor(TRIAGE)
    arguments = json.dumps({"patch": NOWHERE})
    first = await call(tools.apply_patch, editor, arguments)
    assert first.startswith("Nothing was changed. The hunk does not apply.")
    second = await call(tools.apply_patch, editor, arguments)
    assert second.startswith("Nothing was changed: this very edit was refused before.")
    with pytest.raises(EditRepeated) as caught:
        await call(tools.apply_patch, editor, arguments)
    failure = failure_from(caught.value)
    assert failure.code == "max_turns"
    assert "repeated an edit that cannot be applied" in failure.detail


async def test_other_edits_and_an_accepted_one_begin_the_count_again() -> None:
    editor = make_editor(TRIAGE)
    arguments = json.dumps({"patch": NOWHERE})
    for patch in (NOWHERE, "@@\n other\n+x = 1\n", NOWHERE, ADD, NOWHERE, NOWHERE):
        answer = await call(tools.apply_patch, editor, json.dumps({"patch": patch}))
        assert "applied" in answer or answer.startswith("Nothing was changed")
    with pytest.raises(EditRepeated):
        await call(tools.apply_patch, editor, arguments)


async def test_malformed_arguments_end_the_run_at_the_third_time_too() -> None:
    editor = make_editor(TRIAGE)
    for _ in range(2):
        await call(tools.apply_patch, editor, '{"patch": "@@')
    with pytest.raises(EditRepeated):
        await call(tools.apply_patch, editor, '{"patch": "@@')
