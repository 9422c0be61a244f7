"""Fixtures of the worker's tests: a database, and the SDK's traces stay in the process."""

import pytest

from tests.shared.world import database, settings, sqlite_template, world
from worker.tracing import keep_traces_here

__all__ = ["database", "settings", "sqlite_template", "world"]


@pytest.fixture(autouse=True)
def _traces() -> None:
    keep_traces_here()
