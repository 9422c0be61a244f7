"""The Agents SDK's session over a file that is open already."""

import sqlite3
from pathlib import Path

from agents import SQLiteSession
from typing_extensions import override


class FileSession(SQLiteSession):
    """The SDK's session over one open connection to a file that has its tables.

    By itself it opens two to begin with, and one for each thread in which it happens to read. A
    version of the SDK that does not ask these methods would do that again, and work.
    """

    def __init__(self, key: str, path: Path, connection: sqlite3.Connection) -> None:
        self._connection = connection
        super().__init__(key, path)

    @override
    def _get_connection(self) -> sqlite3.Connection:
        self._check_not_closed()
        return self._connection

    @staticmethod
    @override
    def _configure_connection(conn: sqlite3.Connection) -> None:
        pass

    @override
    def _init_db_for_connection(self, conn: sqlite3.Connection) -> None:
        pass
