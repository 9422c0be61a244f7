"""What the static checks of a workflow module accept, refuse and say."""

# ruff: noqa: SIM905 - the words of the properties read better as one text

import warnings
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidWorkflow
from shared.workflow.check import compiled
from shared.workflow.model import Edge, Workflow, outline_text
from shared.workflow.parse import parse_workflow
from shared.workflow.scope import scope_violation
from shared.workflow.text import EMPTY_WORKFLOW, numbered, unified_diff

HEAD = "from agents import Agent, function_tool, handoff, WebSearchTool\nimport agents as sdk\n"
MODULE = (
    HEAD
    + '''
@function_tool
def lookup(order: str) -> str:
    """Look an order up.

    In the database.
    """
    return order

search = WebSearchTool()
billing = Agent(name="Billing", instructions="Be " "brief", tools=[lookup, search])
refunds: sdk.Agent = sdk.Agent[str]("Refunds", model="gpt", handoffs=[handoff(billing)])
triage = Agent(name="Triage", handoffs=[billing], tools=[billing.as_tool("a", "b")])
triage.handoffs.append(refunds)
billing.handoffs = [triage]
'''
)


def check_workflow(code: str) -> Workflow:
    return compiled(code).workflow


def refusal(code: str) -> str:
    with pytest.raises(InvalidWorkflow) as caught:
        check_workflow(code)
    return caught.value.detail


def test_agents_tools_and_handoffs_are_found_however_they_are_written() -> None:
    workflow = check_workflow(MODULE)
    assert [(node.node_id, node.name) for node in workflow.nodes] == [
        ("billing", "Billing"),
        ("refunds", "Refunds"),
        ("triage", "Triage"),
    ]
    assert workflow.edges == (
        Edge("billing", "triage"),
        Edge("refunds", "billing"),
        Edge("triage", "billing"),
        Edge("triage", "refunds"),
        Edge("triage", "billing", "tool", "a"),
    )
    billing = workflow.node("billing")
    assert billing is not None
    assert (billing.instructions, billing.tools) == ("Be brief", ("lookup", "search"))
    assert [(tool.name, tool.description) for tool in workflow.tools] == [
        ("lookup", "Look an order up."),
        ("search", "WebSearchTool"),
    ]


def test_the_outline_names_every_agent_with_its_lines() -> None:
    text = outline_text(parse_workflow(MODULE))
    assert 'agent triage named "Triage", lines 15-15' in text
    assert "hands off to: billing, refunds" in text
    assert text.count("uses as tools: billing (a)") == 1
    assert outline_text(parse_workflow("")) == "There are no agents yet."


def test_the_outline_tells_scopes_and_what_is_not_resolved_and_stays_short() -> None:
    code = HEAD + "def f(b):\n    return sdk.Agent(name='a', handoffs=[b])\n"
    assert outline_text(parse_workflow(code)).split("\n") == [
        "agent a, lines 4-4 in f, tools: none, hands off to: none",
        "not resolved, line 4, handoffs of a: `b` is a parameter",
    ]
    many = HEAD + "".join(f"a{n} = Agent(name='a{n}')\n" for n in range(1_000))
    text = outline_text(parse_workflow(many))
    assert len(text) < 21_000
    assert text.endswith(" more lines")


@pytest.mark.parametrize("code", ["", EMPTY_WORKFLOW, "import os\n", "# nothing"])
def test_a_module_without_agents_is_valid(code: str) -> None:
    assert check_workflow(code).nodes == ()


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("return 1\n", "line 3: 'return' outside function"),
        ("await x\n", "line 3: 'await' outside function"),
        ("def f(\n", "line 3: '(' was never closed"),
    ],
)
def test_syntax_that_is_wrong_is_refused_with_its_line(code: str, detail: str) -> None:
    assert refusal(HEAD + code) == detail


@pytest.mark.parametrize(
    "code",
    [
        "a" + "+a" * 60_000,
        "-" * 100_000 + "1",
        "(" * 5_000,
        "x = " + "1" * 100_000,
        "x = 0x" + "f" * 100_000 + "\nprint(y, x)",
        "\0",
        "x = 1\n\0",
        "\ud800",
        "x: 'a\\0b' = 1",
        "'" + "a" * 1_000_000,
        "if a: pass\n" + "elif a: pass\n" * 10_000,
    ],
)
def test_hostile_code_ends_as_invalid_workflow_or_is_accepted(code: str) -> None:
    with suppress(InvalidWorkflow):
        check_workflow(code)


def test_many_agents_that_share_a_long_list_are_refused_in_time() -> None:
    shared = "s = [" + "a, " * 20_000 + "]\n"
    agents = "".join(f"b{n} = Agent(name='{n}', handoffs=s)\n" for n in range(1_000))
    assert "too many" in refusal(HEAD + 'a = Agent(name="a")\n' + shared + agents)


def test_warnings_about_the_code_do_not_reach_the_log() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_workflow("x = '\\d'\ny = x is 1\n")
    assert not caught


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_invalid(code: str) -> None:
    for check in (parse_workflow, check_workflow):
        with suppress(InvalidWorkflow):
            check(code)


PIECES = st.sampled_from(
    "a b = ( ) [ ] , . : * ** += @ Agent handoff function_tool def class if \n \n    "
    "\nfrom agents import * name= handoffs= tools= 'a' f'{a}' .handoffs.append( lambda: "
    "await return global yield 1 -".split(" ")
)


@given(st.lists(PIECES, max_size=40))
def test_any_mixture_of_tokens_is_parsed_or_invalid(pieces: list[str]) -> None:
    with suppress(InvalidWorkflow):
        check_workflow(HEAD + " ".join(pieces))


def test_the_diff_is_empty_without_a_change_and_marks_a_missing_newline() -> None:
    assert unified_diff("a\n", "a\n") == ""
    assert unified_diff("a\n", "b") == (
        "--- a/workflow.py\n+++ b/workflow.py\n@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n"
    )


def test_every_line_of_the_numbered_code_bears_its_number() -> None:
    assert numbered("a\nb") == "   1 | a\n   2 | b"


# --- what a node session may do ----------------------------------------------------------------

BEFORE = '''from agents import Agent, function_tool

LIMIT = 3

@function_tool
def lookup(order: str) -> str:
    """Look up."""
    return order

billing = Agent(name="billing", tools=[lookup])

# first contact
triage = Agent(name="triage", handoffs=[billing])
'''


def change(old: str, new: str, *, node_id: str = "triage") -> str | None:
    assert old in BEFORE
    after = BEFORE.replace(old, new)
    check_workflow(after)
    return scope_violation(BEFORE, after, node_id)


def test_a_node_session_may_change_its_node_and_add_tools() -> None:
    assert change('Agent(name="triage"', 'Agent(name="Front desk", instructions="x"') is None
    assert change("# first contact", "# other words, moved\n\n") is None
    tool = "import os\nfrom typing import Any\n\nX = 1\n\n@function_tool\ndef t(a: int) -> int:\n"
    tool += "    return X\n\n"
    assert change("# first", tool + "# first") is None
    assert change("import Agent, f", "import Agent, handoff, f") is None
    assert scope_violation(BEFORE, BEFORE + "triage.handoffs.append(triage)\n", "triage") is None


def test_a_node_session_may_create_its_node_and_no_other() -> None:
    created = BEFORE + 'sales = Agent(name="sales")\n'
    assert scope_violation(BEFORE, created, "sales") is None
    reason = scope_violation(BEFORE, created, "triage")
    assert reason == (
        "it adds the agent `sales`; only the agent `triage` may change, and tools that it needs "
        "may be added"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name="billing", tools', 'name="pay", tools', "it changes, moves or removes the agent"),
        ("return order", "return ''", "it changes, moves or removes the tool `lookup` (line 5)"),
        ("LIMIT = 3\n", "", "it changes, moves or removes `LIMIT` (line 3)"),
        ("LIMIT = 3", "LIMIT = 4", "it changes, moves or removes `LIMIT`"),
        ("# first contact", "billing.tools = []\n", "it adds `billing.tools` on line"),
        ("# first contact", "LIMIT = 5\n", "it gives `LIMIT` another meaning"),
        ("# first contact", "print(1)\n", "it adds the statement on line 12"),
        ("# first contact", "import os as lookup\n", "it gives `lookup` another meaning"),
        ('name="triage"', 'name=(LIMIT := "x")', "it gives `LIMIT` another meaning"),
    ],
)
def test_a_node_session_may_touch_nothing_else(old: str, new: str, reason: str) -> None:
    assert (change(old, new) or "").startswith(reason)


def test_a_node_session_may_not_remove_or_rename_its_node() -> None:
    reason = "it removes or renames the agent `triage`, which this session is about"
    assert change("triage = ", "front = ") == reason


@given(st.text(max_size=80))
def test_an_unchanged_module_never_violates_a_scope(text: str) -> None:
    code = f"{BEFORE}# {' '.join(text.split())}\n".replace("\0", "")
    try:
        check_workflow(code)
    except InvalidWorkflow:
        return
    assert scope_violation(code, code, "triage") is None
