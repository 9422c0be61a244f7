"""What an attempt changed, on code that another session changed meanwhile."""

from dataclasses import replace

from shared.store.transitions import CodeMoved, Outcome
from shared.workflow.text import unified_diff
from worker.agent.tools import Workbench, replay


def on_newer_code(outcome: Outcome, workbench: Workbench, moved: CodeMoved) -> Outcome:
    """Replay the accepted patches on code that another session made; raise PatchRejected."""
    code = replay(
        workbench.patches,
        code=moved.code,
        node_id=workbench.node_id,
        code_limit=workbench.code_limit,
    )
    return replace(
        outcome,
        base_revision=moved.revision,
        code=code,
        diff=unified_diff(moved.code, code),
    )
