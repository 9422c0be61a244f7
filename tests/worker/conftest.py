"""Fixtures of the worker's tests that need a database."""

from tests.shared.world import database, settings, sqlite_template, world

__all__ = ["database", "settings", "sqlite_template", "world"]
