"""A node session edits its agent wherever it stands, and nothing else."""

import pytest

from shared.workflow.parse import parse_workflow
from shared.workflow.scope import scope_violation

MODULE = """\
import asyncio
from agents import Agent, Runner, function_tool

LIMIT = 3


@function_tool
def lookup() -> str:
    return "x"


def make(kind):
    # what every desk shares
    if kind:
        billing = Agent(name="billing", tools=[lookup])
    else:
        billing = None
    return Agent(
        name="refunds",
        instructions="Be brief.",
    )


class Desk:
    def __init__(self):
        self.front = Agent(name="front", handoffs=[Agent(name="aid")])


DESKS = {
    "one": Agent(name="one"),
    "two": Agent(name="two"),
}


async def main():
    triage = Agent(name="triage", instructions="Ask.", handoffs=[DESKS["one"]])
    print(LIMIT)
    await Runner.run(triage, "hello")


asyncio.run(main())
"""


def change(old: str, new: str, *, node_id: str) -> str | None:
    assert MODULE.count(old) == 1
    assert parse_workflow(MODULE).node(node_id)
    return scope_violation(MODULE, MODULE.replace(old, new), node_id)


@pytest.mark.parametrize(
    ("node_id", "old", "new"),
    [
        ("triage", '"Ask."', '"Ask twice.", model="m"'),
        (
            "triage",
            "    print(LIMIT)",
            '    triage.handoffs.append(DESKS["two"])\n    print(LIMIT)',
        ),
        ("triage", "    triage = ", "    # the first one\n    triage = "),
        (
            "triage",
            "    triage = ",
            "    from agents import WebSearchTool\n    extra = 1\n    triage = ",
        ),
        ("triage", "async def main", "@function_tool\ndef more() -> str: ...\n\nasync def main"),
        ("refunds", '"Be brief."', '"Be long."'),
        ("billing", "tools=[lookup]", "tools=[lookup], model='m'"),
        ("front", 'name="front"', 'name="front", model="m"'),
        ("aid", 'name="aid"', 'name="aid", model="m"'),
        ("one", 'Agent(name="one")', 'Agent(\n        name="one", model="m"\n    )'),
    ],
)
def test_an_agent_inside_other_code_may_change(node_id: str, old: str, new: str) -> None:
    assert change(old, new, node_id=node_id) is None


@pytest.mark.parametrize(
    ("node_id", "old", "new", "reason"),
    [
        ("triage", "print(LIMIT)", "print(4)", "it changes, moves or removes the statement on"),
        ("triage", "async def main()", "async def main(x=1)", "it changes the function `main`"),
        ("triage", '"Be brief."', '"x"', "it changes, moves or removes the function `make`"),
        (
            "triage",
            "    print(LIMIT)",
            "    LIMIT = 5\n    print(LIMIT)",
            "it gives `LIMIT` another",
        ),
        ("triage", "    print(LIMIT)", "    lookup = 5\n    print(LIMIT)", "it gives `lookup` an"),
        (
            "triage",
            "    print(LIMIT)",
            "    print(LIMIT)\n    print(1)",
            "it adds the statement on",
        ),
        ("triage", '[DESKS["one"]]', '[Agent(name="new")]', "it adds the agent `new`; only"),
        (
            "triage",
            "    print(LIMIT)",
            "    x = Agent(name='x')\n    print(LIMIT)",
            "it adds the ag",
        ),
        (
            "triage",
            "async def",
            "def f():\n    return Agent(name='x')\nasync def",
            "it adds the fun",
        ),
        ("refunds", "    if kind:", "    if not kind:", "it changes, moves or removes the stat"),
        ("billing", "billing = None", "billing = 1", "it changes the statement on line"),
        ("billing", "if kind:", "if not kind:", "it changes the statement on line 14 around"),
        ("front", 'name="aid"', 'name="aid", model="m"', "it changes the agent `aid`; only"),
        ("aid", 'name="front"', 'name="front", model="m"', "it changes `self.front` on line"),
        ("one", 'name="two"', 'name="two", model="m"', "it changes `DESKS` around the agent `one`"),
        ("one", '"one": ', '"1": ', "it removes or renames the agent `one`"),
        ("refunds", "    return Agent(", "    return print, Agent(", "it changes the statement"),
    ],
)
def test_everything_around_an_agent_stays(node_id: str, old: str, new: str, reason: str) -> None:
    assert (change(old, new, node_id=node_id) or "").startswith(reason)


def test_a_new_agent_of_the_session_stands_at_the_top_level() -> None:
    added = MODULE + "\nsales = Agent(name='sales')\n"
    assert scope_violation(MODULE, added, "sales") is None
    inside = MODULE.replace("    print(LIMIT)", "    sales = Agent(name='s')\n    print(LIMIT)")
    assert "add it at the top level" in (scope_violation(MODULE, inside, "sales") or "")


@pytest.mark.parametrize("node_id", [node.node_id for node in parse_workflow(MODULE).nodes])
def test_an_unchanged_module_is_within_each_scope(node_id: str) -> None:
    assert scope_violation(MODULE, MODULE, node_id) is None
    assert scope_violation(MODULE, MODULE.replace("\n", "\r\n"), node_id) is None
