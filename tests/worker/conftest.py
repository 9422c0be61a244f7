"""Fixtures of the worker's tests: a database, and the SDK's traces stay in the process."""

from pathlib import Path

import pytest
from agents.retry import ModelRetryBackoffSettings

from shared.settings import Settings
from tests.shared.world import database, settings_of, sqlite_template, world
from worker.tracing import keep_traces_here

__all__ = ["database", "sqlite_template", "world"]


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Give the settings of a fresh SQLite database, or of the kind that the test names."""
    return settings_of(getattr(request, "param", "sqlite"), request, tmp_path)


@pytest.fixture(autouse=True)
def _retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call of the model be tried again at once, unless its server names a time."""
    at_once = ModelRetryBackoffSettings(initial_delay=0)
    monkeypatch.setattr("worker.model.client.ModelRetryBackoffSettings", lambda **_: at_once)


@pytest.fixture(autouse=True)
def _traces() -> None:
    keep_traces_here()
