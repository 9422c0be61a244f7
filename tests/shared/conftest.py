"""Fixtures of the store's tests."""

from tests.shared.world import database, settings, sqlite_template, world

__all__ = ["database", "settings", "sqlite_template", "world"]
