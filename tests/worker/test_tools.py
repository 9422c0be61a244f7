"""What the workbench takes, what it refuses, and that a refusal changes nothing."""

import pytest

from shared.workflow.text import EMPTY_WORKFLOW
from worker.agent.tools import PatchRejected, Workbench, replay

TRIAGE = EMPTY_WORKFLOW + '\ntriage = Agent(\n    name="triage",\n)\n'
ADD = '@@\n from agents import Agent\n+\n+billing = Agent(name="billing")\n'


def bench(code: str = TRIAGE, node_id: str | None = None, limit: int = 10_000) -> Workbench:
    return Workbench(code, node_id=node_id, code_limit=limit)


def rejected(patch: str, workbench: Workbench) -> str:
    before = workbench.code
    with pytest.raises(PatchRejected) as caught:
        workbench.apply(patch)
    assert (workbench.code, workbench.patches) == (before, [])
    return str(caught.value)


@pytest.mark.parametrize(
    "patch",
    [
        ADD,
        f"*** Begin Patch\n*** Update File: workflow.py\n{ADD}*** End Patch",
        f"*** Begin Patch\n*** Update File: workflow.py\n{ADD}*** End Patch\n".replace(
            "\n", "\r\n"
        ),
        f"*** Update File: workflow.py\n{ADD}",
    ],
)
def test_a_patch_is_taken_with_and_without_its_envelope(patch: str) -> None:
    workbench = bench()
    after = workbench.apply(patch)
    assert after == workbench.code
    assert 'Agent\n\nbilling = Agent(name="billing")\n' in after
    assert workbench.patches == [patch]


def test_a_whole_module_may_be_sent_as_an_added_file() -> None:
    workbench = bench()
    workbench.apply("*** Begin Patch\n*** Add File: workflow.py\n+x = 1\n*** End Patch\n")
    assert workbench.code == "x = 1\n"


def test_two_sections_are_applied_one_after_the_other() -> None:
    second = '@@\n billing = Agent(name="billing")\n+sales = Agent(name="sales")\n'
    workbench = bench()
    workbench.apply(
        f"*** Begin Patch\n*** Update File: w\n{ADD}*** Update File: w\n{second}*** End Patch\n"
    )
    assert "sales" in workbench.code


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ("", "The patch is empty."),
        ("*** Begin Patch\n*** End Patch", "The patch is empty."),
        ("*** Delete File: workflow.py\n", "The module cannot be deleted."),
        ("@@\n nothing like this\n+x\n", "The patch does not apply: Invalid Context"),
        ("no diff at all", "The patch does not apply: Invalid Line"),
        ("@@\n from agents import Agent\n", "The patch changes nothing."),
        (
            '@@\n     name="triage",\n+    handoffs=[billing],\n',
            "The module would be wrong: line 7: the handoff `billing` of `triage` is not defined.",
        ),
        ("@@\n from agents import Agent\n+#" + "x" * 10_000, "The module would have 10"),
    ],
)
def test_a_refused_patch_says_why_and_changes_nothing(patch: str, reason: str) -> None:
    assert rejected(patch, bench()).startswith(reason)


def test_a_patch_too_long_to_search_for_is_refused_at_once() -> None:
    code = "#\n" * 9_000
    assert "too long" in rejected(" #\n" * 9_000 + "+x\n", bench(code, limit=100_000))


def test_a_node_session_is_held_to_its_node() -> None:
    reason = rejected(ADD, bench(node_id="triage"))
    assert reason.startswith("This session is only for the agent `triage`: it adds the agent")


def test_a_node_session_may_mend_the_tool_that_it_added() -> None:
    workbench = bench(node_id="triage")
    workbench.apply(
        "@@\n-from agents import Agent\n+from agents import Agent, function_tool\n+\n"
        "+@function_tool\n+def t() -> int:\n+    return 1\n+\n"
    )
    workbench.apply("@@\n-    return 1\n+    return 2\n")
    assert len(workbench.patches) == 2


def test_accepted_patches_are_replayed_on_other_code_with_the_same_checks() -> None:
    other = TRIAGE + "\nLIMIT = 3\n"
    code = replay([ADD], code=other, node_id=None, code_limit=10_000)
    assert code == other.replace(
        "import Agent\n", 'import Agent\n\nbilling = Agent(name="billing")\n'
    )
    with pytest.raises(PatchRejected, match="already defined"):
        replay([ADD, ADD], code=other, node_id=None, code_limit=10_000)
    with pytest.raises(PatchRejected, match="only for the agent `triage`"):
        replay([ADD], code=other, node_id="triage", code_limit=10_000)
