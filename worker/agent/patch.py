"""Edits as models write them, applied to a module: at exactly one place, or refused.

A hunk's context and removed lines, with its anchor, must identify one place. The comparison gets
looser step by step (exact, without trailing blanks, without typographic punctuation, at another
indentation), and each step must still find one place. Line numbers only decide between places.
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

from shared.workflow.limits import can_compare
from shared.workflow.text import EMPTY_WORKFLOW
from worker.agent.patch_text import (
    Hunk,
    PatchRejected,
    Rewrite,
    parse,
    require_text,
    without_numbers,
)
from worker.agent.source import Change, Source

_MOST_HUNKS = 1_000
_MOST_COMPARED = 20_000_000  # lines of the module for each hunk: str.find takes 1 ns for one
_COMPARED_AT_ONCE = 100
_MOST_STEPS = 500_000
_MOST_TRIED = 50
_MOST_NAMED = 10
_LEAST_ALIKE = 2
_LONGEST_SHOWN = 200
_SHORTEST_ANCHOR = 4

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a", " "),
        **dict.fromkeys("\u202f\u205f\u3000", " "),
    }
)


def apply_patch(source: Source, patch: str) -> Source:
    """Return the module after a patch; raise PatchRejected."""
    after = source
    for section in parse(patch, is_blank=_is_blank(source)):
        if isinstance(section, Rewrite):
            after = _rewritten(after, section)
        else:
            after = after.changed(_Places(after).changes(section))
    if after.text == source.text:
        raise PatchRejected("The patch changes nothing.")
    return after


def replace_text(source: Source, old: str, new: str) -> Source:
    """Return the module with a text replaced that occurs exactly once; raise PatchRejected."""
    require_text(old)
    require_text(new)
    old, new = (text.replace("\r\n", "\n") for text in (old, new))
    if not old.strip():
        raise PatchRejected(
            "`old` is empty. Send a text of the module that occurs once; to add code at the end, "
            "use apply_patch with `+` lines only."
        )
    if old == new:
        raise PatchRejected("`old` and `new` are the same: nothing would change.")
    _refuse_elisions(new.split("\n"), source)
    return source.changed(_replacement(source, old, new))


# --- one text for another -----------------------------------------------------------------


def _replacement(source: Source, old: str, new: str) -> list[Change]:
    text = "\n".join(source.lines) + ("\n" if source.lines and source.endings[-1] else "")
    for spelling, found in _spellings(text, old):
        places = _occurrences(found, spelling)
        if len(places) > 1:
            lines = [found.count("\n", 0, place) for place in places]
            raise PatchRejected(
                f"The text occurs {_times(len(places))} in the module, on {_lines(lines)}. Send "
                "more of the text around the one that is meant."
            )
        if places:
            made = _substitution(source, found, places[0], len(spelling), new)
            replaced = source.lines[made.start : made.end]
            return list(_differences(made.start, replaced, made.lines, str))
    olds, news = (without_numbers(part.strip("\n").split("\n")) for part in (old, new))
    body = [*(("-", line) for line in olds), *(("+", line) for line in news)]
    return _Places(source).changes([Hunk(body=tuple(body), title="The text")])


def _spellings(text: str, old: str) -> Iterator[tuple[str, str]]:
    yield old, text
    plain = text.translate(_PLAIN)
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, old).translate(_PLAIN), plain


def _occurrences(text: str, part: str) -> list[int]:
    places: list[int] = []
    place = text.find(part)
    while place >= 0 and len(places) <= _MOST_NAMED:
        places.append(place)
        place = text.find(part, place + 1)
    return places


def _substitution(source: Source, text: str, place: int, length: int, new: str) -> Change:
    first, last = text.count("\n", 0, place), text.count("\n", 0, place + length)
    before = source.lines[first][: place - (text.rfind("\n", 0, place) + 1)]
    column = place + length - (text.rfind("\n", 0, place + length) + 1)
    lines = f"{before}{new}".split("\n")
    if last < len(source.lines):
        lines[-1] += source.lines[last][column:]
        return Change(first, last + 1, tuple(lines))
    return Change(first, last, tuple(lines if lines[-1] else lines[:-1]))


# --- a whole module -----------------------------------------------------------------------


def _is_blank(source: Source) -> bool:
    return source.text.strip() in ("", EMPTY_WORKFLOW.strip())


def _rewritten(source: Source, rewrite: Rewrite) -> Source:
    _refuse_elisions(rewrite.lines, source)
    return source.rewritten(rewrite.lines)


_KEPT = r"(?:rest|remainder|remaining|existing|previous|original|other|unchanged|same|omitted|keep)"
_THINGS = r"(?:code|file|module|workflow|agents?|tools?|functions?|imports?|definitions?|content)"
_ELIDES = re.compile(
    rf"""(?:\#|//|<|\[|\()?\s*(?:\.{{3}}|…).*\b{_KEPT}\b      # ... existing code
    | (?:\#|//|<!--|/\*)[\W_]*(?:\.{{3}}|…)[\W_]*$            # ...
    | (?:\#|//).*\b{_KEPT}\b.*(?:\.{{3}}|…)\W*$               # rest of the code ...
    | (?:\#|//)\W*(?:the\s+|all\s+)*(?:rest|remainder|remaining|existing|other|everything\ else)\b
      .*\b(?:unchanged|same|as\ before|as\ is|omitted|untouched|remains?|stays?|here)\b
    | (?:\#|//)\W*(?:the\s+)?(?:rest|remainder)\s+of\s+(?:the\s+|your\s+)?{_THINGS}\b\W*$
    | (?:\#|//)\W*(?:the\s+)?(?:existing|remaining|unchanged)\s+{_THINGS}\b\W*$
    | (?:\#|//)\W*(?:your\s+)?(?:existing|previous|original|other)\s+{_THINGS}\s+here\b
    | (?:\#|//)\W*(?:{_THINGS}\s+)?unchanged\W*$
    | (?:\#|//)\W*(?:keep\s+(?:the\s+|all\s+)?(?:rest|existing|other|remaining)\b
      |same\s+as\s+(?:before|above)|no\s+changes?\b|{_THINGS}\s+omitted\b|snip\b)""",
    re.IGNORECASE | re.VERBOSE,
)


def _refuse_elisions(lines: Sequence[str], source: Source) -> None:
    """Refuse new text that stands for text which it leaves out."""
    above = ""
    for line in lines:
        text = line.strip()
        opens = above.endswith(("(", "[", "{", ","))
        is_ellipsis = text in ("...", "…", "...,") and (opens or not line[:1].isspace())
        if text not in source.stripped and (is_ellipsis or _ELIDES.match(text[:_LONGEST_SHOWN])):
            raise PatchRejected(
                f"The line `{_shown(text)}` stands for code that the edit leaves out, and that "
                "code would be lost. Write the whole module, or change only the lines that "
                "are to change."
            )
        above = text or above


# --- where hunks belong -------------------------------------------------------------------


def _plain(line: str) -> str:
    if line.isascii():
        return line
    return unicodedata.normalize("NFC", line).translate(_PLAIN)


def _blanks_aside(line: str) -> str:
    return line.rstrip()


def _typography_aside(line: str) -> str:
    return _plain(line).rstrip()


def _indentation_aside(line: str) -> str:
    return _plain(line).strip()


_LEVELS: tuple[Callable[[str], str], ...] = (
    str,
    _blanks_aside,
    _typography_aside,
    _indentation_aside,
)
_IN_OTHER_TYPE = 2
_AT_OTHER_INDENTATION = 3


class _Index:
    """Where sequences of lines stand: each different line is one character of a text."""

    def __init__(self, lines: Sequence[str], alike: Callable[[str], str]) -> None:
        self._alike = alike
        self._letters: dict[str, str] = {}
        letters = self._letters
        self.text = "".join(
            letters.setdefault(alike(line), chr(len(letters) + 1)) for line in lines
        )

    def letters(self, lines: Sequence[str]) -> str:
        """Spell lines; those that are not in the module have a letter of their own."""
        return "".join(self._letters.get(self._alike(line), "\0") for line in lines)


@dataclass(frozen=True)
class _Scope:
    """The lines in which a hunk must begin, or which it must contain, to belong to an anchor."""

    anchor: int
    start: int
    end: int

    def holds(self, place: int, count: int) -> bool:
        return self.start <= place < self.end or place <= self.anchor < place + count


@dataclass(frozen=True)
class _Found:
    """A hunk in one of its readings, and the line on which it begins."""

    hunk: Hunk
    place: int
    adapt: Callable[[str], str]


class _Places:
    """Finds the places of hunks in one module."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._end = len(source.lines)
        # listings, and split("\n"), show an empty line after the last line feed
        has_last = not source.lines or source.endings[-1]
        self._lines = (*source.lines, "") if has_last else source.lines
        self._indexes: dict[int, _Index] = {}
        self._steps = 0

    def changes(self, hunks: Sequence[Hunk]) -> list[Change]:
        """Return what the hunks change; raise PatchRejected if any has not exactly one place."""
        hunks = [hunk for hunk in hunks if hunk.changes]
        count = len(hunks)
        if count > _MOST_HUNKS or count * len(self._lines) > _MOST_COMPARED:
            raise PatchRejected("The patch has too many hunks for this module; send fewer.")
        for hunk in hunks:
            _refuse_elisions(hunk.added, self._source)
        located = [self._located(hunk) for hunk in hunks]
        _refuse_overlaps(located)
        return [self._inside(change) for change in self._joined(located)]

    def _inside(self, change: Change) -> Change:
        """Make of the empty line that is none one that is, where lines follow it."""
        if change.end <= self._end:
            return change
        lines = ("", *change.lines) if change.start > self._end else change.lines
        lines = lines if lines[-1:] != ("",) else lines[:-1]
        return Change(min(change.start, self._end), self._end, lines)

    def _joined(self, located: Sequence[_Found]) -> Iterator[Change]:
        at_end: list[str] = []
        for found in located:
            if found.hunk.old:
                yield from _changes_of(found)
            elif found.place < self._end:
                yield Change(found.place, found.place, found.hunk.added)
            else:
                at_end += found.hunk.added
        if at_end:
            yield Change(self._end, self._end, tuple(at_end))

    def _located(self, hunk: Hunk) -> _Found:
        scopes = self._scopes(hunk.anchors)
        if not hunk.old:
            return _Found(hunk, self._place_of_addition(hunk), str)
        for reading in hunk.readings:
            level, places = self._candidates(reading.old, scopes)
            if places:
                place = self._chosen(reading, places, is_anchored=bool(scopes))
                return _Found(reading, place, self._adapter(reading.old, place, level))
        raise self._mismatch(hunk, scopes)

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise PatchRejected("The patch is too long for this module; send smaller hunks.")

    # --- anchors ---

    def _scopes(self, anchors: Sequence[str]) -> list[_Scope]:
        """Return what the anchors identify; nothing if one of them is not in the module."""
        scopes: list[_Scope] = []
        for anchor in anchors:
            lines = self._anchored(anchor)
            if scopes:
                lines = [n for n in lines if any(s.start <= n < s.end for s in scopes)]
            if not lines or len(lines) > _MOST_NAMED:
                return []
            scopes = [self._scope(line) for line in lines]
        return scopes

    def _anchored(self, anchor: str) -> list[int]:
        """Return the lines that an anchor may mean, by the strictest reading that any line fits."""
        text = _indentation_aside(anchor)
        layout = self._source.layout
        for fits, is_elsewhere in (
            (text.__eq__, repeat(0)),
            *((fits, layout.continues) for fits in _definition_patterns(text)),
            *((fits, layout.in_text) for fits in _line_patterns(text)),
        ):
            self._count(1 + len(self._lines) // 5)
            pairs = enumerate(zip(self._bare, is_elsewhere, strict=False))
            if found := [n for n, (line, other) in pairs if not other and fits(line)]:
                return found
        return []

    @cached_property
    def _bare(self) -> list[str]:
        return [_indentation_aside(line) for line in self._lines]

    def _scope(self, line: int) -> _Scope:
        layout = self._source.layout
        self._count(1 + len(layout.statements) // 5)
        statement = layout.around(line)
        if self._bare[line].startswith("#") and not layout.continues[line]:
            statement = layout.after(line)
        if statement is None:
            return _Scope(line, line, self._end)
        if statement.is_definition or statement.has_body:
            following = layout.after(statement.end)
            # the line that begins the next statement says itself where it is
            reach = following.start + 1 if following else self._end
            return _Scope(line, min(statement.start, line), reach)
        return _Scope(line, statement.start, layout.block_end(statement))

    # --- additions without context ---

    def _place_of_addition(self, hunk: Hunk) -> int:
        """Place a hunk of `+` lines only: at the end, or below the one line that its anchor is."""
        first = next((line for line in hunk.added if line.strip()), "")
        if not hunk.anchors:
            is_elsewhere = hunk.number and hunk.number < self._end and not hunk.is_at_end
            if is_elsewhere or first[:1].isspace():
                raise _without_context(hunk)
            return self._end
        anchor = _indentation_aside(hunk.anchors[0])
        lines = [number for number, line in enumerate(self._bare) if line == anchor]
        if len(lines) != 1 or len(hunk.anchors) > 1 or not self._fits_below(lines[0], first):
            raise _without_context(hunk)
        return lines[0] + 1

    def _fits_below(self, line: int, added: str) -> bool:
        """Tell whether code of this indentation can only go on directly below a line."""
        layout, text = self._source.layout, self._lines[line].rstrip()
        here, wanted = _indentation(text), _indentation(added)
        if text.endswith(("(", "[", "{")):
            return wanted != here and wanted.startswith(here)
        statement = layout.around(line)
        is_element = layout.continues[line] and not layout.in_text[line] and text.endswith(",")
        is_whole = statement is not None and (statement.start, statement.end) == (line, line + 1)
        return (is_element or is_whole) and wanted == here

    # --- candidates ---

    def _candidates(self, old: Sequence[str], scopes: Sequence[_Scope]) -> tuple[int, list[int]]:
        """Return the places at the strictest level that has any."""
        for level in range(len(_LEVELS)):
            places = self._find(level, old)
            if scopes:
                count = len(old)
                places = [p for p in places if any(s.holds(p, count) for s in scopes)]
            if places:
                return level, places
        return 0, []

    def _index(self, level: int) -> _Index:
        if level not in self._indexes:
            self._indexes[level] = _Index(self._lines, _LEVELS[level])
        return self._indexes[level]

    def _find(self, level: int, old: Sequence[str]) -> list[int]:
        index = self._index(level)
        wanted = index.letters(old)
        places: list[int] = []
        place = -1 if "\0" in wanted else index.text.find(wanted)
        while place >= 0:
            self._count(1 + len(old) // _COMPARED_AT_ONCE)
            if level < _AT_OTHER_INDENTATION or self._is_shifted(old, place):
                places.append(place)
            place = index.text.find(wanted, place + 1)
        return places

    def _is_shifted(self, old: Sequence[str], place: int) -> bool:
        self._count(len(old))
        return _shift(old, self._lines[place : place + len(old)]) is not None

    def _chosen(self, hunk: Hunk, places: list[int], *, is_anchored: bool) -> int:
        if hunk.number is not None and hunk.number - 1 in places:
            return hunk.number - 1
        if hunk.is_at_end and places[-1] + len(hunk.old) >= self._end:
            return places[-1]
        if len(places) == 1 and (is_anchored or any(line.strip() for line in hunk.old)):
            return places[0]
        if len(places) == 1:
            raise PatchRejected(
                f"{hunk.title} has blank lines as its only context, which say nothing. Add "
                "lines of the module with text."
            )
        lost = not is_anchored and hunk.anchors
        misses = f"`@@ {_shown(hunk.anchors[-1])}` names no line of the module. " if lost else ""
        raise PatchRejected(
            f"{hunk.title} fits {_times(len(places))}: on {_lines(places)}. {misses}Add lines of "
            "context that only one of these places has, or put `@@ ` and the line that begins "
            "the right definition above the hunk."
        )

    def _adapter(self, old: Sequence[str], place: int, level: int) -> Callable[[str], str]:
        """Return how added lines are written so that they stand with those that were found."""
        found = self._lines[place : place + len(old)]
        spell = _respelled(old, found) if level >= _IN_OTHER_TYPE else str
        shift = _shift(old, found) if level >= _AT_OTHER_INDENTATION else None
        return lambda line: _shifted(spell(line), shift)

    # --- refusals ---

    def _mismatch(self, hunk: Hunk, scopes: Sequence[_Scope]) -> PatchRejected:
        if scopes and (places := self._candidates(hunk.old, ())[1]):
            anchors = sorted({scope.anchor for scope in scopes})
            return PatchRejected(
                f"{hunk.title} is not in what `@@ {_shown(hunk.anchors[-1])}` names, on "
                f"{_lines(anchors)}; its lines stand on {_lines(places)}. Name the definition "
                "that is meant, or leave the `@@` line empty if the context occurs once."
            )
        wanted, place = self._first_difference(hunk.old, scopes)
        shown = f"{hunk.title} does not apply. The first line that differs, in the edit:\n"
        shown += f"{_shown(wanted)}\n"
        if place is None:
            shown += "The module has no line like it.\n"
        elif place >= self._end:
            shown += f"The module ends on line {self._end}.\n"
        else:
            shown += f"and line {place + 1} of the module:\n{_shown(self._lines[place])}\n"
        return PatchRejected(
            f"{shown}Copy context and removed lines as they stand in the module now: whole lines "
            "with their indentation, without their numbers."
        )

    def _first_difference(
        self, old: Sequence[str], scopes: Sequence[_Scope]
    ) -> tuple[str, int | None]:
        start = self._best_start(old, scopes)
        if start is not None:
            for place, line in enumerate(old, start):
                here = self._lines[place] if 0 <= place < len(self._lines) else None
                if here is None or _typography_aside(here) != _typography_aside(line):
                    return line, max(place, 0)
        wanted = next((line for line in old if line.strip()), "")
        return wanted, self._likest(wanted, scopes)

    def _best_start(self, old: Sequence[str], scopes: Sequence[_Scope]) -> int | None:
        """Return where most of the lines would stand on lines like them."""
        index = self._index(_AT_OTHER_INDENTATION)
        where: dict[str, list[int]] = {}
        for place, letter in enumerate(index.text):
            places = where.setdefault(letter, [])
            if len(places) < _MOST_TRIED:
                places.append(place)
        votes: Counter[int] = Counter()
        for offset, line in enumerate(old[:_MOST_TRIED]):
            if line.strip():
                votes.update(place - offset for place in where.get(index.letters([line]), ()))
        for start, _ in votes.most_common():
            if not scopes or any(scope.holds(start, len(old)) for scope in scopes):
                return start
        return None

    def _likest(self, wanted: str, scopes: Sequence[_Scope]) -> int | None:
        """Return the line that has most characters in common at its beginning and its end."""
        text, best, most = wanted.strip(), None, _LEAST_ALIKE
        for place, here in enumerate(self._bare):
            if scopes and not any(scope.holds(place, 1) for scope in scopes):
                continue
            alike = _common(text, here)
            alike += _common(text[alike:][::-1], here[alike:][::-1])
            if alike > most:
                best, most = place, alike
        return best


_NAME = re.compile(r"[^\W\d]\w*")
_CODE = re.compile(r"(?:async def|def|class)\b|\w+\s{0,9}=")


def _definition_patterns(text: str) -> Iterator[Callable[[str], bool]]:
    if _NAME.fullmatch(text):
        name = re.escape(text)
        defined = rf"(?:(?:async\s+)?def|class)\s+{name}\b|{name}\s*(?::|=(?!=))"
        yield _fits(re.compile(defined).match)


def _line_patterns(text: str) -> Iterator[Callable[[str], bool]]:
    if _NAME.fullmatch(text):
        named = rf"""(?:.*[(,\s])?name\s*=\s*["']{re.escape(text)}["']"""
        yield _fits(re.compile(named).match)
        return
    for tail in (":", ")", "...", "…", "("):  # def f(...):
        text = text.removesuffix(tail).rstrip()
    if len(text) >= _SHORTEST_ANCHOR:
        part = re.compile(re.escape(text) + (r"(?!\w)" if re.match(r"\w", text[-1]) else ""))
        yield _fits(part.match)
        if _CODE.match(text):  # words alone may stand in any text
            yield _fits(part.search)


def _fits(test: Callable[[str], object]) -> Callable[[str], bool]:
    return lambda line: test(line) is not None


def _without_context(hunk: Hunk) -> PatchRejected:
    return PatchRejected(
        f"{hunk.title} has only `+` lines, and nothing says where they go. Give the lines above "
        "and below as context, each after one space. `+` lines without `@@` line and without "
        "indentation go to the end of the module."
    )


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _shift(old: Sequence[str], found: Sequence[str]) -> tuple[str, str] | None:
    """Return which indentation to take away and which to add, the same for all lines."""
    shift: tuple[str, str] | None = None
    for line, here in zip(old, found, strict=True):
        if not line.strip():
            continue
        given, wanted = _indentation(_plain(line)), _indentation(here)
        if wanted.endswith(given):
            this = ("", wanted[: len(wanted) - len(given)])
        elif given.endswith(wanted):
            this = (given[: len(given) - len(wanted)], "")
        else:
            return None
        if shift not in (None, this):
            return None
        shift = this
    return shift


def _shifted(line: str, shift: tuple[str, str] | None) -> str:
    if shift is None or not line.strip():
        return line
    less, more = shift
    if not line.startswith(less):
        raise PatchRejected(
            f"The added line `{_shown(line)}` is indented less than the hunk's other lines, which "
            "are indented more than the module's. Copy the indentation of the module."
        )
    return more + line.removeprefix(less)


def _respelled(old: Sequence[str], found: Sequence[str]) -> Callable[[str], str]:
    """Undo in added lines what happened to the characters of the lines around them."""
    strange = {
        ord(letter): _PLAIN[ord(letter)]
        for line, here in zip(old, found, strict=True)
        for letter in set(line) - set(here)
        if ord(letter) in _PLAIN
    }
    was_decomposed = any(
        unicodedata.normalize("NFC", line) != line and unicodedata.normalize("NFC", here) == here
        for line, here in zip(old, found, strict=True)
    )

    def respell(line: str) -> str:
        line = line.translate(strange)
        return unicodedata.normalize("NFC", line) if was_decomposed else line

    return respell


def _changes_of(found: _Found) -> Iterator[Change]:
    place = found.place
    olds: list[str] = []
    news: list[str] = []
    for sign, line in (*found.hunk.body, (" ", "")):
        if sign == " ":
            yield from _differences(place, olds, news, found.adapt)
            place += len(olds) + 1
            olds, news = [], []
        else:
            (olds if sign == "-" else news).append(line)


def _differences(
    place: int, old: Sequence[str], new: Sequence[str], adapt: Callable[[str], str]
) -> Iterator[Change]:
    """Leave alone what is removed and added again: there the module keeps its own bytes."""
    if not old or not new or not can_compare(old, new):
        if old or new:
            yield Change(place, place + len(old), tuple(map(adapt, new)))
        return
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag != "equal":
            yield Change(place + i, place + j, tuple(map(adapt, new[k:m])))


def _refuse_overlaps(located: Sequence[_Found]) -> None:
    """Refuse hunks that remove lines of one another, or add at the same place."""
    removed: dict[int, _Found] = {}
    added: dict[int, _Found] = {}
    for found in located:
        if not found.hunk.old and not found.hunk.anchors:
            continue  # additions at the end stand in their order
        hunk = found.hunk
        changes = list(_changes_of(found)) if hunk.old else [Change(found.place, found.place, ())]
        for change in changes:
            lines = range(change.start, change.end)
            owners = removed if lines else added
            for line in lines or [change.start]:
                if owners.setdefault(line, found) is not found:
                    raise _overlap(hunk, line)
    for found in located:
        for line in range(found.place, found.place + len(found.hunk.old)):
            if removed.get(line, found) is not found:
                raise _overlap(found.hunk, line)


def _overlap(hunk: Hunk, line: int) -> PatchRejected:
    return PatchRejected(
        f"{hunk.title} overlaps another one on line {line + 1}. Put changes of the same lines "
        "into one hunk."
    )


def _common(one: str, other: str) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _times(count: int) -> str:
    return f"{count} times" if count <= _MOST_NAMED else f"more than {_MOST_NAMED} times"


def _lines(places: Sequence[int]) -> str:
    numbers = [str(place + 1) for place in places[:_MOST_NAMED]]
    if len(places) > _MOST_NAMED:
        numbers.append("...")
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    return f"lines {', '.join(numbers[:-1])} and {numbers[-1]}"


def _shown(line: str) -> str:
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."
