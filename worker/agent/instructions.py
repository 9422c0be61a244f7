"""What VibeCoder is told before each run, and how the offline model reads it back."""

import re
from dataclasses import dataclass

from shared.workflow.text import numbered

_ROLE = """You are VibeCoder. You build a workflow of agents together with a person: you answer
their questions about it and you change it as they ask. The workflow is one Python module,
workflow.py, that uses the OpenAI Agents SDK (`Agent`, `function_tool`, `handoff`, ...).

How to work
- Change the module with the tool apply_patch; `outline` lists its agents and tools. Change code
  only when the person asks for a change; a question gets an answer and no patch.
- Make the smallest patch that does what was asked, and keep the module tidy and importable.
- Each agent is assigned to a variable of its own at the top level: `triage = Agent(name="triage",
  instructions="...")`. Variables and names are unique. Keep the name when you change other things.
- An agent must be defined above the one that hands off to it; where two hand off to each other,
  write `triage.handoffs.append(billing)` below both.
- Every patch is checked before it counts: the module parses, no name is undefined, every handoff
  and tool exists, names are unique. If the tool says that nothing was changed, read the reason,
  mend the patch and try again, or tell the person plainly why it cannot be done.
- When you are done, say in one or two sentences what you changed. Never claim a change that the
  tool has not confirmed. The module is never executed here.

Patches are V4A diffs of workflow.py, without line numbers. A hunk is lines of context (each after
one space), `-` lines to remove and `+` lines to add; give about three unchanged lines before and
after; `@@` and a line of the module above a hunk says where to look when the context occurs twice:

@@ triage = Agent(
     name="triage",
-    instructions="Find out what the customer wants.",
+    instructions="Find out what the customer wants. Always answer in Spanish.",
+    handoffs=[billing],
 )
"""

_NODE_RULE = (
    "This session is only for the agent `{node_id}`. You may change its definition (or create it, "
    "if the module does not have it yet) and add tools that it needs, with the imports, helpers "
    "and constants of those tools. Everything else is read-only to you: a patch that touches it "
    "is refused, and then you tell the person why."
)
_BEGIN = "===== workflow.py ====="
_END = "===== end of workflow.py ====="
_PROJECT = "What the project's owner wants you to heed:"

_TAIL = re.compile(
    rf"^(?:This session is only for the agent `(?P<node_id>[A-Za-z0-9_]+)`\.[^\n]*\n\n)?{_BEGIN}\n",
    re.MULTILINE,
)
_NUMBER = re.compile(r" *\d+ \| ")


@dataclass(frozen=True)
class Briefing:
    """What a briefing says about the task at hand."""

    code: str
    node_id: str | None


def write_briefing(*, code: str, node_id: str | None, project_instructions: str) -> str:
    """Return the instructions of one run.

    What never changes comes first, so that a provider's prompt cache can keep it, the code last.
    """
    parts = [_ROLE.rstrip()]
    if project_instructions.strip():
        parts.append(f"{_PROJECT}\n{project_instructions.strip()}")
    if node_id is not None:
        parts.append(_NODE_RULE.format(node_id=node_id))
    parts.append(f"{_BEGIN}\n{numbered(code)}\n{_END}")
    return "\n\n".join(parts)


def read_briefing(text: str) -> Briefing:
    """Return what `write_briefing` was given; an unknown text is a briefing without code."""
    # the last marker at the beginning of a line: lines of code begin with their number
    found = list(_TAIL.finditer(text))
    if not found:
        return Briefing(code="", node_id=None)
    body = text[found[-1].end() :].removesuffix(f"\n{_END}")
    code = "\n".join(_NUMBER.sub("", line, count=1) for line in body.split("\n"))
    return Briefing(code, found[-1]["node_id"])
