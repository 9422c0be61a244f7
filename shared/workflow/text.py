"""A project's code as text: its first state, its lines with numbers, its changes."""

import difflib
from collections.abc import Iterator

from shared.workflow.limits import can_compare

EMPTY_WORKFLOW = '''"""A workflow of agents."""

from agents import Agent
'''


def unified_diff(before: str, after: str) -> str:
    """Return the change as a unified diff of `workflow.py`, empty when there is none."""
    if before == after:
        return ""
    old, new = _diff_lines(before), _diff_lines(after)
    names = ("a/workflow.py", "b/workflow.py")
    if can_compare(old, new):
        lines = difflib.unified_diff(old, new, *names)
    else:
        lines = _replaced(old, new, *names)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _replaced(old: list[str], new: list[str], before: str, after: str) -> Iterator[str]:
    """Say in the form of a diff that all lines are others."""
    yield from (f"--- {before}\n", f"+++ {after}\n", f"@@ -1,{len(old)} +1,{len(new)} @@\n")
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)


def numbered(code: str) -> str:
    """Return the code with the number of each line before it."""
    return "\n".join(f"{n:>4} | {line}" for n, line in enumerate(code.split("\n"), start=1))


def _diff_lines(text: str) -> list[str]:
    # not splitlines(): it also splits at form feeds and the like, which end no line of a patch
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
