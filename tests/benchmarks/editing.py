"""What it costs to change a module of 20 kB: the edit itself, without its check."""

import time
from collections.abc import Callable

from shared.workflow.text import EMPTY_WORKFLOW
from worker.agent.patch import apply_patch, replace_text
from worker.agent.rebase import rebase
from worker.agent.source import Source

_AGENTS = 120
_AGENT = """
agent_{0} = Agent(
    name="agent_{0}",
    instructions="You are agent {0}. Help with things, and say so when you cannot.",
    model="gpt-4.1",
    handoffs=[agent_0],
)
"""
MODULE = EMPTY_WORKFLOW + "".join(map(_AGENT.format, range(_AGENTS)))
_BEGIN = "*** Begin Patch\n*** Update File: workflow.py\n"
_CHANGE = "     handoffs=[agent_0],\n+    tools=[],\n )\n"
PATCH = (
    f"*** Begin Patch\n*** Update File: workflow.py\n@@ agent_77 = Agent(\n{_CHANGE}*** End Patch"
)


def edit_ms(times: int = 20) -> dict[str, list[float]]:
    """Return the milliseconds of CPU of each kind of edit, again and again."""
    edited = apply_patch(Source.read(MODULE), PATCH)
    newer = f"{MODULE}\nlater = Agent(name='later')\n"
    kinds: dict[str, Callable[[], object]] = {
        "patched": lambda: apply_patch(Source.read(MODULE), PATCH),
        "replaced": lambda: replace_text(Source.read(MODULE), 'name="agent_77"', 'name="x"'),
        "rebased": lambda: rebase(MODULE, edited, newer),
    }
    return {kind: [_cpu_ms(work) for _ in range(times)] for kind, work in kinds.items()}


def _cpu_ms(work: Callable[[], object]) -> float:
    used = time.process_time()
    work()
    return (time.process_time() - used) * 1e3
