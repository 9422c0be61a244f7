"""Editors over a module, for tests."""

from shared.workflow.checker import CodeChecker
from worker.agent.tools import WorkflowEditor


def make_editor(code: str, node_id: str | None = None, limit: int = 100_000) -> WorkflowEditor:
    return WorkflowEditor(
        code, node_id=node_id, code_limit=limit, checker=CodeChecker(), owner="test"
    )
