"""Carry a run's changes to code that another session changed meanwhile.

The places of the changes are known from the edits, so nothing is searched for again: a change goes
where the statement stands that it was made in, or beside, if that statement is the same in the
newer code, stands under the same headers, and exists once. Everything else is a conflict.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, takewhile

from worker.agent.source import Change, Source, Statement


class RebaseConflict(Exception):
    """The changes have no certain place in the newer code."""


def rebase(base: str, edited: Source, newer: str) -> str:
    """Return the newer code with what `edited` changed of `base`; raise RebaseConflict."""
    if newer == base:
        return edited.text
    if edited.is_rewritten:
        raise RebaseConflict("the whole module was replaced")
    old, target = Source.read(base), Source.read(newer)
    before = old.layout.definitions
    if twice := (edited.layout.definitions & target.layout.definitions) - before:
        raise RebaseConflict(f"both define `{min(name for _, name in twice)}`")
    carrier = _Carrier(old, target)
    carried = [carrier.carried(change) for change in _changes(edited, len(old.lines))]
    for one, other in pairwise(carried):
        if one.end > other.start:
            raise RebaseConflict("the changed places stand in another order")
    return target.changed(carried).text


def _changes(edited: Source, count: int) -> Iterator[Change]:
    """Return what leads from the base to the edited module, in the order of lines."""
    place = 0
    added: list[str] = []
    for line, origin in zip((*edited.lines, ""), (*edited.origins, count), strict=True):
        if origin is None:
            added.append(line)
            continue
        if added or origin > place:
            yield Change(place, origin, tuple(added))
        place, added = origin + 1, []


@dataclass(frozen=True)
class _Frame:
    """Lines of the base, whole statements among them, that the newer code must have unchanged."""

    statement: Statement
    start: int
    end: int


class _Statements:
    """The statements of a module by the block in which they stand, and by their text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.blocks: dict[int | None, list[Statement]] = {None: []}
        self._alike: dict[tuple[bytes, str], list[Statement]] = {}
        self._by_text: dict[tuple[bytes, str], dict[tuple[str, ...], list[Statement]]] = {}
        around: list[Statement] = []
        for statement in source.layout.statements:
            while around and around[-1].end <= statement.start:
                around.pop()
            self.blocks.setdefault(around[-1].start if around else None, []).append(statement)
            key = statement.path, source.lines[statement.start]
            self._alike.setdefault(key, []).append(statement)
            around.append(statement)

    def text(self, statement: Statement) -> tuple[str, ...]:
        return self.source.lines[statement.start : statement.end]

    def with_text(self, path: bytes, text: tuple[str, ...]) -> Sequence[Statement]:
        """Return the statements of this text that stand under these headers."""
        key = path, text[0]
        if key not in self._by_text:
            texts = self._by_text[key] = {}
            for statement in self._alike.get(key, ()):
                texts.setdefault(self.text(statement), []).append(statement)
        return self._by_text[key].get(text, ())

    def siblings(self, change: Change) -> Sequence[Statement]:
        """Return the statements of the innermost block that holds all of a change."""
        level = self.blocks[None]
        while True:
            last = bisect_right(level, change.start, key=lambda statement: statement.start)
            holders = (s for s in reversed(level[max(last - 2, 0) : last]) if _holds(s, change))
            holder = next(holders, None)
            inside = self.blocks.get(holder.start) if holder else None
            if holder is None or not inside:
                return level
            if change.start == holder.end and (_indent(change.lines) or 0) < inside[0].indent:
                return level  # below the block, not its last line
            level = inside


class _Carrier:
    """Finds in the newer code where places of the base are."""

    def __init__(self, old: Source, new: Source) -> None:
        self._old, self._new = _Statements(old), _Statements(new)

    def carried(self, change: Change) -> Change:
        """Return the same change at its place in the newer code."""
        old, new = self._old.source, self._new.source
        appends = change.start == change.end == len(old.lines) and _indent(change.lines) == 0
        if appends:
            return Change(len(new.lines), len(new.lines), change.lines)
        for frame in self._frames(change):
            offset = self._offset(frame)
            if offset is not None:
                return Change(change.start + offset, change.end + offset, change.lines)
        raise RebaseConflict(f"line {change.start + 1} was changed meanwhile")

    def _frames(self, change: Change) -> Iterator[_Frame]:
        """Return what may hold a change, the first choice first."""
        siblings = self._old.siblings(change)
        first = bisect_right(siblings, change.start, key=lambda statement: statement.end)
        touched = list(takewhile(lambda s: s.start < change.end, islice(siblings, first, None)))
        if touched:
            start, end = touched[0].start, touched[-1].end
            yield _Frame(touched[0], min(start, change.start), max(end, change.end))
            return
        if first:
            above = siblings[first - 1]
            yield _Frame(above, above.start, change.end)
        if first < len(siblings) and _indent(change.lines) in (None, siblings[first].indent):
            below = siblings[first]
            yield _Frame(below, change.start, below.end)

    def _offset(self, frame: _Frame) -> int | None:
        """Return how far the newer code has moved a frame that it has unchanged, once."""
        statement = frame.statement
        text = self._old.text(statement)
        found = self._new.with_text(statement.path, text)
        if len(found) != 1 or len(self._old.with_text(statement.path, text)) != 1:
            return None
        offset = found[0].start - statement.start
        start, end = frame.start + offset, frame.end + offset
        unchanged = self._old.source.lines[frame.start : frame.end]
        return offset if start >= 0 and self._new.source.lines[start:end] == unchanged else None


def _holds(statement: Statement, change: Change) -> bool:
    return statement.body <= change.start and change.end <= statement.end


def _indent(lines: Sequence[str]) -> int | None:
    line = next((line for line in lines if line.strip()), None)
    return None if line is None else len(line) - len(line.lstrip())
