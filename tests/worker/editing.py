"""Editors over a module, for tests; a module that imports both names closes what it opened."""

from collections.abc import AsyncIterator

import pytest

from shared.workflow.checker import CodeChecker
from worker.agent.tools import WorkflowEditor

_opened: list[CodeChecker] = []


def shared_checker() -> CodeChecker:
    """Return the checker of the test, whose child processes its editors use."""
    if not _opened:
        _opened.append(CodeChecker())
    return _opened[0]


def make_editor(code: str, node_id: str | None = None, limit: int = 100_000) -> WorkflowEditor:
    return WorkflowEditor(
        code, node_id=node_id, code_limit=limit, checker=shared_checker(), owner="test"
    )


@pytest.fixture(autouse=True)
async def close_checkers() -> AsyncIterator[None]:
    yield
    while _opened:
        await _opened.pop().aclose()
