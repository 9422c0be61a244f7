"""Statements as the drivers get them, whoever sends them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiosqlite
import psycopg
import pytest

# those of ours: in small letters the libraries ask a server what it is
_OURS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


@contextmanager
def counted() -> Iterator[list[str]]:
    """List the statements that are sent meanwhile, without the transactions' own."""
    sent: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for place, name in (
            (psycopg.AsyncCursor, "execute"),
            (aiosqlite.Cursor, "execute"),
            (aiosqlite.Connection, "execute_fetchall"),
            (aiosqlite.Connection, "executemany"),
        ):
            patch.setattr(place, name, _noting(sent, getattr(place, name)))
        yield sent


def _noting(sent: list[str], run: Any) -> Any:
    def noted(self: Any, statement: Any, *args: Any, **options: Any) -> Any:
        text = str(statement)
        if text.startswith(_OURS):
            rows = len(args[0]) if run.__name__ == "executemany" else 1
            sent.extend([text] * rows)
        return run(self, statement, *args, **options)

    return noted
