"""`python -m tests.benchmarks.modules`: the cost of reading, checking and patching a module."""

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from unittest.mock import patch as replaced

from shared.workflow.check import check_module, read
from shared.workflow.checker import CodeChecker
from shared.workflow.typecheck import find_problems
from tests.benchmarks.goals import OURS
from tests.benchmarks.results import Note, Results
from worker.agent.patch import apply_patch, replace_text
from worker.agent.rebase import rebase
from worker.agent.source import Source

_SIZE = 20_000
_TIMES = 20
_PART = '''
@function_tool
def look_up_{n}(order: str, exact: bool = True) -> str:
    """Look up an order of the kind {n}."""
    for place in ("shop", "store"):
        if order.startswith(place):
            return f"{{order}} is in the {{place}}"
    return "unknown" if exact else "perhaps"


agent_{n} = Agent(
    name="Agent {n}",
    instructions="Help with orders of the kind {n}, one step at a time, and be brief.",
    tools=[look_up_{n}],
    handoffs=[{before}],
)
'''


def module(size: int = _SIZE) -> str:
    """Make a module of about so many characters, of tools and agents that hand off."""
    code, before, number = "from agents import Agent, function_tool\n\n", "", 0
    while len(code) < size:
        code += _PART.format(n=number, before=before)
        before, number = f"agent_{number}", number + 1
    return code


async def measure(note: Note) -> None:
    """Take CPU times of the parts, and the time of a child's answer about a small module."""
    code = module()
    line = '    name="Agent 7",'
    edit = f'@@\n agent_7 = Agent(\n-{line}\n+{line[:-2]}, the seventh",\n'
    note("ms module read", [_cpu_ms(lambda: read(code)) for _ in range(_TIMES)])
    with replaced("shared.workflow.check.find_problems", return_value=[]):
        note("ms module checked", [_cpu_ms(lambda: check_module(code)) for _ in range(_TIMES)])
    typed = [_cpu_ms(lambda: _find_problems(code), resource.RUSAGE_CHILDREN) for _ in range(5)]
    note("ms module typed", typed)
    edited, newer = apply_patch(Source.read(code), edit), f"{code}\nLATER = 1\n"
    edits: dict[str, Callable[[], object]] = {
        "patched": lambda: apply_patch(Source.read(code), edit),
        "replaced": lambda: replace_text(Source.read(code), '"Agent 7"', '"The seventh"'),
        "rebased": lambda: rebase(code, edited, newer),
    }
    for kind, work in edits.items():
        note(f"ms module {kind}", [_cpu_ms(work) for _ in range(_TIMES)])
    checker = CodeChecker()
    for number in range(_TIMES + 1):
        began = time.perf_counter()
        await checker.read(f"from agents import Agent\na = Agent(name='{number}')\n", owner="")
        if number:  # the first starts the child
            note("ms child", [(time.perf_counter() - began) * 1e3])
    await checker.aclose()


def _find_problems(code: str) -> None:
    find_problems(code, python="3.11", environment=sys.prefix)


def _cpu_ms(work: Callable[[], object], who: int = resource.RUSAGE_SELF) -> float:
    before = resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def main() -> None:
    """Measure and print medians."""
    results = Results()
    asyncio.run(measure(results.of(OURS)))
    for name in results.samples[OURS]:
        print(f"{name:20} {results.median(OURS, name):8.1f}")


if __name__ == "__main__":
    main()
