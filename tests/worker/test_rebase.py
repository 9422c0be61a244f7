"""On code that another session changed, an edit lands where it was made, or there is a conflict."""

import pytest

from worker.agent.patch import apply_patch
from worker.agent.rebase import RebaseConflict, rebase
from worker.agent.source import Source

BASE = """from agents import Agent

triage = Agent(
    name="triage",
    model="gpt-4.1",
    instructions="Find out.",
)

billing = Agent(
    name="billing",
    instructions="Help.",
)


async def main():
    sales = Agent(
        name="sales",
        instructions="Sell.",
    )
    print(sales)
    return sales
"""
TRIAGE = '@@ triage = Agent(\n     name="triage",\n-    model="gpt-4.1",\n+    model="gpt-5",\n'


def rebased(patch: str, newer: str, base: str = BASE) -> str:
    return rebase(base, apply_patch(Source.read(base), patch), newer)


def conflict(patch: str, newer: str, base: str = BASE) -> str:
    with pytest.raises(RebaseConflict) as caught:
        rebased(patch, newer, base)
    return str(caught.value)


def test_other_agents_may_have_changed_and_moved() -> None:
    newer = BASE.replace("Help.", "Help fast.").replace(
        "triage = Agent(", 'first = Agent(name="first")\n\ntriage = Agent('
    )
    assert rebased(TRIAGE, newer) == newer.replace("gpt-4.1", "gpt-5")


def test_an_edit_does_not_land_in_another_agent_that_looks_like_it_now() -> None:
    once = '@@\n-    model="gpt-4.1",\n'
    newer = BASE.replace('    model="gpt-4.1",\n', "").replace(
        '    name="billing",\n', '    name="billing",\n    model="gpt-4.1",\n'
    )
    assert rebased(once, BASE.replace("Sell.", "Sell more.")).count("gpt-4.1") == 0
    assert conflict(once, newer) == "line 5 was changed meanwhile"


def test_two_changes_of_one_agent_are_a_conflict() -> None:
    assert conflict(TRIAGE, BASE.replace("Find out.", "Find out more."))
    assert conflict(TRIAGE, BASE.replace('    model="gpt-4.1",\n', ""))
    assert conflict(TRIAGE, BASE.replace("triage = Agent(", "front = Agent("))


def test_an_agent_that_stands_twice_is_a_conflict() -> None:
    agent = BASE[BASE.index("triage = ") : BASE.index("billing = ")]
    assert conflict(TRIAGE, BASE + agent)


def test_what_moved_to_another_function_is_a_conflict() -> None:
    patch = '@@\n-        name="sales",\n+        name="seller",\n'
    assert 'name="seller"' in rebased(patch, BASE.replace("print(sales)", "print(1)"))
    assert conflict(patch, BASE.replace("async def main", "async def other"))


def test_both_may_add_at_the_end() -> None:
    newer = f'{BASE}\nlater = Agent(name="later")\n'
    assert (
        rebased('+\n+mine = Agent(name="mine")\n', newer) == f'{newer}\nmine = Agent(name="mine")\n'
    )


def test_both_may_add_behind_the_same_statement() -> None:
    patch = '@@\n from agents import Agent\n+\n+mine = Agent(name="mine")\n'
    newer = BASE.replace("import Agent\n", 'import Agent\n\nother = Agent(name="other")\n')
    assert rebased(patch, newer) == newer.replace(
        "import Agent\n", 'import Agent\n\nmine = Agent(name="mine")\n'
    )


def test_what_both_define_is_a_conflict() -> None:
    assert conflict('+x = Agent(name="a")\n', f'{BASE}x = Agent(name="b")\n') == "both define `x`"
    inside = "@@\n     print(sales)\n+    x = 1\n"
    newer = BASE.replace("    return sales", "    x = 2\n    return sales")
    assert conflict(inside, newer) == "both define `x`"
    assert rebased(inside, f"{BASE}x = 2\n")


def test_a_line_that_was_added_to_a_function_stays_in_it() -> None:
    patch = "@@\n     return sales\n+    done(sales)\n"
    newer = f"{BASE}\n\ndef other():\n    return 1\n"
    assert rebased(patch, newer) == newer.replace(
        "    return sales\n", "    return sales\n    done(sales)\n"
    )
    assert conflict(patch, newer.replace("    return sales\n", "    return None\n"))


def test_a_removed_agent_is_a_conflict() -> None:
    agent = BASE[BASE.index("triage = ") : BASE.index("billing = ")]
    assert conflict(TRIAGE, BASE.replace(agent, ""))
    assert rebased(TRIAGE, BASE.replace("billing", "bills")).count("gpt-5") == 1


def test_several_changes_are_carried_or_none() -> None:
    patch = f'{TRIAGE}@@ billing\n-    instructions="Help.",\n+    instructions="Halp.",\n'
    newer = f'"""Agents."""\n\n{BASE}'
    assert rebased(patch, newer) == newer.replace("gpt-4.1", "gpt-5").replace("Help.", "Halp.")
    assert conflict(patch, newer.replace("Help.", "Help!"))


def test_a_rewrite_is_a_conflict_on_any_other_code() -> None:
    rewrite = "from agents import Agent\n\nx = 1\n"
    assert rebased(rewrite, BASE) == rewrite
    assert conflict(rewrite, f"{BASE}y = 1\n") == "the whole module was replaced"


def test_the_newer_code_keeps_its_line_endings() -> None:
    newer = f"{BASE}y = 1\n".replace("\n", "\r\n")
    assert rebased(TRIAGE, newer) == newer.replace("gpt-4.1", "gpt-5")
