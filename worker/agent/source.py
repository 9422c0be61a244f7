"""A module's text as lines with their endings, and the statements that the lines form.

Nothing here parses Python: code that does not parse can be edited too, and what a compiler makes
of a stranger's code is not bounded.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import compress
from typing import NamedTuple

_BOM = "\ufeff"
_TAB = 8
_TOKEN = re.compile(
    r"""\"{3}|'{3}|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|\#[^\n]*|[()\[\]{}]|\\\n|\n""",
    re.DOTALL,
)
_CLOSING = {quotes: re.compile(rf"(?:[^\\]|\\.)*?{quotes}", re.DOTALL) for quotes in ('"""', "'''")}
_DEFINITION = re.compile(
    r"\s*(?:(?:async\s+)?def\s|class\s|[A-Za-z_][\w.]*(?:\s*,\s*[A-Za-z_][\w.]*)*\s*(?::|=(?!=)|\+=))"
)
_DEFINED = re.compile(r"\s*(?:async\s+def\s+|def\s+|class\s+)?([A-Za-z_]\w*)")
_CLAUSE = re.compile(r"\s*(?:else|try|finally|except|match|case|if|elif|for|while|with|async)\b")


@dataclass(frozen=True)
class Change:
    """Replace the lines from `start` up to `end`, counted from 0, by others."""

    start: int
    end: int
    lines: tuple[str, ...]


class Statement(NamedTuple):
    """One statement with its decorators and its body: the lines from `start` up to `end`.

    `top` is the line after the decorators, `body` the line after its own first logical line;
    `path` is the same for statements that stand under the same headers, in any module.
    """

    start: int
    top: int
    body: int
    end: int
    indent: int
    path: bytes
    is_definition: bool

    @property
    def has_body(self) -> bool:
        """Tell whether other statements stand inside."""
        return self.body < self.end


@dataclass(frozen=True)
class Source:
    """The lines of a module; `origins` are their places in the text that was read first."""

    lines: tuple[str, ...]
    endings: tuple[str, ...]
    origins: tuple[int | None, ...]
    bom: str = ""
    is_rewritten: bool = False

    @classmethod
    def read(cls, text: str) -> "Source":
        """Divide a text at its line feeds; a carriage return before one belongs to the ending."""
        bom = _BOM if text.startswith(_BOM) else ""
        parts = text[len(bom) :].split("\n")
        last = parts.pop()
        lines = [part.removesuffix("\r") for part in parts]
        endings = ["\r\n" if part.endswith("\r") else "\n" for part in parts]
        if last:
            lines.append(last)
            endings.append("")
        return cls(tuple(lines), tuple(endings), tuple(range(len(lines))), bom)

    @cached_property
    def text(self) -> str:
        """Return the module as it is stored."""
        pairs = zip(self.lines, self.endings, strict=True)
        return self.bom + "".join(line + ending for line, ending in pairs)

    def changed(self, changes: Iterable[Change]) -> "Source":
        """Apply changes that do not overlap; new lines take the ending of their neighbours."""
        lines: list[str] = []
        endings: list[str] = []
        origins: list[int | None] = []
        place = 0
        for change in sorted(changes, key=lambda change: (change.start, change.end)):
            lines += (*self.lines[place : change.start], *change.lines)
            endings += self.endings[place : change.start]
            endings += self._endings_of(change)
            origins += (*self.origins[place : change.start], *(None for _ in change.lines))
            place = change.end
        lines += self.lines[place:]
        endings += self.endings[place:]
        origins += self.origins[place:]
        for number, ending in enumerate(endings[:-1]):
            if not ending:  # the last line had none and is the last no more
                endings[number] = self._ending_near(len(self.lines) - 1)
        return replace(self, lines=tuple(lines), endings=tuple(endings), origins=tuple(origins))

    def rewritten(self, lines: Sequence[str]) -> "Source":
        """Replace the whole module."""
        ending = self._ending_near(0)
        count = len(lines)
        return Source(tuple(lines), (ending,) * count, (None,) * count, self.bom, is_rewritten=True)

    def _endings_of(self, change: Change) -> list[str]:
        inserts = change.start == change.end
        near = self._ending_near(max(change.start - inserts, 0))
        endings = [near] * len(change.lines)
        if endings and not inserts and change.end == len(self.lines) and not self.endings[-1]:
            endings[-1] = ""
        return endings

    def _ending_near(self, place: int) -> str:
        for near in (place, place - 1, place + 1):
            if 0 <= near < len(self.endings) and self.endings[near]:
                return self.endings[near]
        return "\n"

    @cached_property
    def stripped(self) -> frozenset[str]:
        """Return the lines without the blanks around them."""
        return frozenset(line.strip() for line in self.lines)

    @cached_property
    def layout(self) -> "Layout":
        """Return the statements that the lines form."""
        return Layout(self.lines)


class _Opened:
    """A statement whose end is not known yet."""

    __slots__ = ("_below", "body", "end", "indent", "path", "start", "top")

    def __init__(self, start: int, top: int, body: int, indent: int, path: bytes) -> None:
        self.start, self.top, self.body, self.indent, self.path = start, top, body, indent, path
        self.end = body
        self._below: bytes | None = None

    def path_below(self, lines: Sequence[str]) -> bytes:
        if self._below is None:
            header = "\n".join(lines[self.top : self.body]).encode(errors="surrogatepass")
            self._below = blake2b(self.path + header, digest_size=16).digest()
        return self._below

    def closed(self, lines: Sequence[str]) -> Statement:
        defines = _is_definition(lines[self.top])
        return Statement(self.start, self.top, self.body, self.end, self.indent, self.path, defines)


class Layout:
    """The statements of a module, found by its indentation, brackets and quotes."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.continues, self.in_text = _continuations("\n".join(lines), len(lines))
        self.statements = self._statements()
        self._starts = [statement.start for statement in self.statements]

    @cached_property
    def _owners(self) -> list[Statement | None]:
        owners: list[Statement | None] = [None] * len(self.lines)
        for statement in self.statements:
            owners[statement.start : statement.end] = [statement] * (
                statement.end - statement.start
            )
        return owners

    @cached_property
    def definitions(self) -> frozenset[tuple[bytes, str]]:
        """Return the names that statements define, each with the path of its statement."""
        found = ((item.path, _DEFINED.match(self.lines[item.top])) for item in self.statements)
        defined = [item.is_definition for item in self.statements]
        return frozenset((path, match[1]) for path, match in compress(found, defined) if match)

    @property
    def names(self) -> frozenset[str]:
        """Return the names that the module's own level defines."""
        return frozenset(name for path, name in self.definitions if not path)

    def around(self, place: int) -> Statement | None:
        """Return the innermost statement to which a line belongs."""
        return self._owners[place]

    def after(self, place: int) -> Statement | None:
        """Return the first statement that begins on this line or below."""
        number = bisect_left(self._starts, place)
        return self.statements[number] if number < len(self.statements) else None

    def block_end(self, statement: Statement) -> int:
        """Return the line after the block in which a statement stands."""
        following = self.statements[bisect_left(self._starts, statement.end) :]
        outside = (item.start for item in following if item.indent < statement.indent)
        return next(outside, len(self.lines))

    def _statements(self) -> list[Statement]:
        opened: list[_Opened] = []
        stack: list[_Opened] = []
        decorated: int | None = None
        last_end = 0
        for start, end in self._logical_lines():
            line = self.lines[start]
            indent = _indent(line)
            while stack and stack[-1].indent >= indent:
                stack.pop().end = last_end
            last_end = end
            first = start if decorated is None else decorated
            if line.startswith("@", len(line) - len(line.lstrip())):
                decorated = first
                continue
            decorated = None
            path = stack[-1].path_below(self.lines) if stack else b""
            stack.append(_Opened(first, start, end, indent, path))
            opened.append(stack[-1])
        for item in stack:
            item.end = last_end
        return [item.closed(self.lines) for item in opened]

    def _logical_lines(self) -> Iterator[tuple[int, int]]:
        start = None
        for number, line in enumerate(self.lines):
            if self.continues[number]:
                continue
            if start is not None:
                yield start, number
            start = None if _is_gap(line) else number
        if start is not None:
            yield start, len(self.lines)


def _is_gap(line: str) -> bool:
    text = line.lstrip()
    return not text or text.startswith("#")


def _is_definition(line: str) -> bool:
    return bool(_DEFINITION.match(line)) and not _CLAUSE.match(line)


def _indent(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip())].expandtabs(_TAB))


def _continuations(text: str, count: int) -> tuple[list[bool], list[bool]]:
    """Tell of each line whether it goes on with the one above, and whether inside a string."""
    continues, in_text = [False] * (count + 1), [False] * (count + 1)
    line = depth = place = 0
    while match := _TOKEN.search(text, place):
        part, place = match[0], match.end()
        if part in _CLOSING:
            closing = _CLOSING[part].match(text, place)
            place = closing.end() if closing else len(text)
            part = text[match.start() : place]
        if part in "([{":
            depth += 1
        elif part in ")]}":
            depth = max(depth - 1, 0)
        elif part == "\n":
            line += 1
            continues[line] = depth > 0
        else:
            for _ in range(part.count("\n")):
                line += 1
                continues[line] = True
                in_text[line] = part[0] in "\"'"
    return continues[:count], in_text[:count]
