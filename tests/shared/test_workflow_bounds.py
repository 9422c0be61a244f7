"""Hostile code: checking it takes bounded time and memory, and never the process."""

import os
import random
import subprocess
import sys
import time

import pytest

from shared.errors import InvalidWorkflow
from shared.workflow.check import check_workflow
from shared.workflow.text import unified_diff
from tests.services import ROOT, clean_environment

SIZE = 200_000
MEMORY = 700_000_000
"""Of a process that checks one of these, with Python and all that it has loaded."""

BOMBS = {
    "brackets": "(" * SIZE,
    "signs": "-" * SIZE + "1",
    "attributes": "x" + ".a" * (SIZE // 2),
    "calls": "x" + "()" * (SIZE // 2),
    "sums": "1" + "+1" * (SIZE // 2),
    "lambdas": "lambda:" * (SIZE // 7) + "1",
    "branches": "if a: pass\n" + "elif a: pass\n" * (SIZE // 13),
    "indentation": "\n".join(" " * n + "if 1:" for n in range(600)),
    "one line": "'" + "a" * 1_000_000 + "'",
    "statements": "a=1\n" + "a;" * (SIZE // 2),
    "comparisons": "1" + "<1" * (SIZE // 2),
    "functions": "def f():pass\n" * (SIZE // 13),
    "comprehensions": "[a for a in ()]\n" * (SIZE // 16),
    "f-string": "f'" + "{1}" * (SIZE // 3) + "'",
    "text": f"x: '{'(' * SIZE}'",
    "digits": "9" * SIZE,
    "finally in finally": "def f():\n"
    + "".join(f"{' ' * n}try:\n{' ' * n} pass\n{' ' * n}finally:\n" for n in range(1, 19))
    + " " * 19
    + "pass\n",
    "returns through finally": "def f(a):\n try:\n"
    + "  if a: return\n" * 5_000
    + " finally:\n"
    + "  a\n" * 5_000,
}
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from shared.errors import InvalidWorkflow
from shared.workflow.check import check_workflow
try:
    check_workflow(sys.stdin.read())
except InvalidWorkflow as error:
    print(error)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_code_is_checked_in_bounded_memory_and_time(name: str) -> None:
    began = os.times().children_user
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(memory=MEMORY)],
        check=False,
        cwd=ROOT,
        env=clean_environment(),
        input=BOMBS[name],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert os.times().children_user - began < 10  # 1.5 s on an idle machine


@pytest.mark.parametrize("name", ["finally in finally", "returns through finally"])
def test_what_the_compiler_would_multiply_is_refused(name: str) -> None:
    with pytest.raises(InvalidWorkflow, match="`finally` blocks are too many"):
        check_workflow(BOMBS[name])


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
    assert len(check_workflow(code).tools) == 500


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
