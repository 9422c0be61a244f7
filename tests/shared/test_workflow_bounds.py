"""The limits of what a check costs; test_checker.py holds hostile code against them."""

import random
import time

import pytest

from shared.errors import InvalidWorkflow
from shared.workflow.check import compiled
from shared.workflow.text import unified_diff
from tests.shared.bombs import BOMBS


@pytest.mark.parametrize("name", ["finally in finally", "returns through finally"])
def test_what_the_compiler_would_multiply_is_refused(name: str) -> None:
    with pytest.raises(InvalidWorkflow, match="`finally` blocks are too many"):
        compiled(BOMBS[name])


def test_a_large_module_of_a_person_is_accepted() -> None:
    tool = '''
@function_tool
def look_up_{n}(order_id: str) -> str:
    """Look up an order."""
    try:
        for place in ("shop", "store"):
            if order_id.startswith(place):
                return f"{{order_id}} is in the {{place}}"
        return "unknown"
    finally:
        print("looked up", order_id, [letter.upper() for letter in order_id])
'''
    code = "from agents import function_tool\n" + "".join(tool.format(n=n) for n in range(500))
    assert len(code) > 150_000
    assert len(compiled(code).workflow.tools) == 500


def test_texts_whose_lines_recur_are_compared_soon_and_the_diff_is_right() -> None:
    chance = random.Random(1)
    lines = [str(100 + n % 150) for n in range(60_000)]
    before, after = (
        "\n".join(chance.sample(lines, len(lines))) + "\n",
        "\n".join(chance.sample(lines, len(lines))) + "\n",
    )
    began = time.process_time()
    diff = unified_diff(before, after)
    assert time.process_time() - began < 5
    head, rest = diff.split("@@ -1,60000 +1,60000 @@\n")
    assert head == "--- a/workflow.py\n+++ b/workflow.py\n"
    changed = rest.splitlines(keepends=True)
    assert "".join(line[1:] for line in changed if line[0] == "-") == before
    assert "".join(line[1:] for line in changed if line[0] == "+") == after
