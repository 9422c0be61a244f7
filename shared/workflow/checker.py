"""Check a project's code away from the event loop.

One `CodeChecker` a process; the API and the worker use the same one.
"""

import asyncio
import importlib
from typing import Any

from shared.errors import InvalidWorkflow
from shared.workflow.check import check_workflow
from shared.workflow.model import Report, Workflow
from shared.workflow.parse import parse_workflow
from shared.workflow.scope import scope_violation


class CodeChecker:
    """Read and check modules; places are shared fairly between owners."""

    async def read(self, code: str, *, owner: str) -> Workflow:  # noqa: ARG002
        """Return what a module defines; raise InvalidWorkflow if it does not parse."""
        return await asyncio.to_thread(parse_workflow, code)

    async def check(self, code: str, *, owner: str) -> Report:  # noqa: ARG002
        """Return what a module defines and its diagnostics.

        Raises:
            InvalidWorkflow: it does not parse within the bounds.
        """
        return Report(await asyncio.to_thread(check_workflow, code))

    async def check_edit(
        self,
        before: str,  # noqa: ARG002
        after: str,
        *,
        base: str,
        node_id: str | None,
        owner: str,
    ) -> Report:
        """Check an edit: refuse it for the problems that it adds, accept those that were there.

        With a `node_id` the scope is checked against `base`, the code at the start of the run.

        Raises:
            InvalidWorkflow: the module does not parse, has a problem more, or the edit leaves
                the scope of the node's session.
        """
        report = await self.check(after, owner=owner)
        if node_id is not None:
            violation = await asyncio.to_thread(scope_violation, base, after, node_id)
            if violation:
                raise InvalidWorkflow(
                    f"This session is only for the agent `{node_id}`: {violation}."
                )
        return report

    async def call(self, function: str, /, *, owner: str, **arguments: Any) -> Any:  # noqa: ARG002
        """Call `package.module:function` where code is parsed; its arguments are JSON."""
        module, _, name = function.partition(":")
        return await asyncio.to_thread(getattr(importlib.import_module(module), name), **arguments)

    async def aclose(self) -> None:
        """End the child processes."""
