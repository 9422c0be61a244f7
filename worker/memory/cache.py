"""Session files that stay open between messages: opening and closing costs more than use."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from shared.store.transitions import Claim
from worker.memory.file import MemoryFile


class OpenFiles:
    """The files that no attempt uses at the moment, as many as are allowed to stay open.

    Nothing depends on it: who takes a file looks into it as if it had been closed.
    """

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder = folder
        self._most = most
        self._idle: OrderedDict[tuple[UUID, int], MemoryFile] = OrderedDict()

    def take(self, claim: Claim) -> MemoryFile:
        """Give an attempt its session's file, to itself, open if it was left open."""
        idle = self._idle.pop((claim.session_id, claim.generation), None)
        key = claim.openai_session_key
        return idle or MemoryFile(self._folder, claim.session_id, claim.generation, key=key)

    def give_back(self, file: MemoryFile) -> None:
        """Keep a file for the next attempt, instead of the one that waited longest for one."""
        if not file.is_open:
            return
        if other := self._idle.pop(file.of, None):  # of an attempt that lost its lease
            other.close()
        self._idle[file.of] = file
        if len(self._idle) > self._most:
            self._idle.popitem(last=False)[1].close()

    def close(self, files: Iterable[tuple[UUID, int]] | None = None) -> None:
        """Close these files, or all."""
        for of in list(self._idle if files is None else files):
            if file := self._idle.pop(of, None):
                file.close()
