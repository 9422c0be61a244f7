"""Session files that stay open between messages: opening and closing costs more than use."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from shared.store.transitions import Claim
from worker.memory_file import MemoryFile, name_of

_MOST_READS = 16
"""Then a file is closed: each thread in which the Agents SDK reads it leaves a connection open."""


class OpenFiles:
    """The files that no attempt uses at the moment, as many as are allowed to stay open.

    Nothing depends on it: who takes a file looks into it as if it had been closed.
    """

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder = folder
        self._most = most
        self._idle: OrderedDict[Path, MemoryFile] = OrderedDict()

    def take(self, claim: Claim) -> MemoryFile:
        """Give an attempt its session's file, to itself, open if it was left open."""
        path = self._folder / name_of(claim.session_id, claim.generation)
        if idle := self._idle.pop(path, None):
            return idle
        key = claim.openai_session_key
        return MemoryFile(self._folder, claim.session_id, claim.generation, key=key)

    def give_back(self, file: MemoryFile) -> MemoryFile | None:
        """Keep a file for the next attempt; return the one that must be closed instead."""
        if file.session is None or file.reads >= _MOST_READS:
            return file
        other = self._idle.pop(file.path, None)  # of an attempt that lost its lease
        self._idle[file.path] = file
        if other is None and len(self._idle) > self._most:
            return self._idle.popitem(last=False)[1]
        return other

    def close(self, paths: Iterable[Path] | None = None) -> None:
        """Close these files, or all; this blocks."""
        for path in list(self._idle if paths is None else paths):
            if file := self._idle.pop(path, None):
                file.close()
