"""Read patches as models write them: what wraps them, which file they name, their hunks.

Understood: V4A, unified diffs, SEARCH/REPLACE blocks and whole modules, in code fences, heredocs
and envelopes, with line numbers copied from the listing.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from worker.agent.source import Layout

FILE = "workflow.py"
_BOM = "\ufeff"
_FOLDERS = frozenset({"", "a", "b", "workspace", "app", "repo"})
_LONGEST_NAME = 100
_WRAPPERS = 4

_FENCE = re.compile(r"(?:`{3,}|~{3,})")
_HEREDOC = re.compile(
    r"(?:[$>] )?(?:bash -l?c ['\"]?)?(?:apply_?patch|git apply|patch|cat)\b(?P<to>[^<]*)"
    r"<<-?\s*['\"\\]?(?P<tag>\w+)"
)
_BEGIN = re.compile(r"\*{3}\s*Begin Patch\b", re.IGNORECASE)
_END = re.compile(r"\*{3}\s*End Patch\b", re.IGNORECASE)
_HEADER = re.compile(
    r"\*{3}\s*(?P<verb>Update|Modify|Edit|Add|Create|Delete|Remove|Move|Rename)\s*"
    r"(?:File|to)\s*:?(?P<name>.*)",
    re.IGNORECASE,
)
_GIT = re.compile(r"index |new file|deleted file|old mode|new mode|similarity|rename|copy|Binary")
_NUMBERS = re.compile(r"-(?P<line>\d{1,7})(?:,\d+)?(?: \+\d+(?:,\d+)?)?(?: @@)?")
_NUMBERED = re.compile(r"(?P<sign>[-+]?)[ \t]{0,9}(?P<line>\d{1,7}) ?\|(?: (?P<text>.*))?$")
_SEARCH = re.compile(r"<{5,9}(?: ?(?:SEARCH|ORIGINAL|OLD|HEAD)\b.*)?\s*$")
_DIVIDER = re.compile(r"={5,9}\s*$")
_REPLACE = re.compile(r">{5,9}(?: ?\w.*)?\s*$")
_FILE_NAME = re.compile(r"[#*`\s]{0,9}([\w./\\-]{1,200}\.\w{1,5})[`*:\s]{0,9}$")
_IMPORT = re.compile(r"(?:from|import)\s+\w")
_SDK_IMPORT = re.compile(r"(?:from|import)\s+agents\b")
_FORM = (
    "Send a V4A diff: `@@` lines, context after one space, `-` lines to remove, `+` lines to add."
)


class PatchRejected(Exception):
    """An edit does not apply, or what it makes is not allowed; the text says why and what to do."""


@dataclass(frozen=True)
class Rewrite:
    """The lines of a whole new module."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Hunk:
    """Lines of context, lines to remove and lines to add, each as its sign and its text."""

    body: tuple[tuple[str, str], ...]
    title: str = "The hunk"
    anchors: tuple[str, ...] = ()
    number: int | None = None
    is_at_end: bool = False
    others: tuple[tuple[tuple[str, str], ...], ...] = ()
    """The body in looser readings, for when the first does not fit."""

    @cached_property
    def old(self) -> tuple[str, ...]:
        """Return the lines that the module must have."""
        return tuple(line for sign, line in self.body if sign != "+")

    @cached_property
    def added(self) -> tuple[str, ...]:
        """Return the lines that are new."""
        return tuple(line for sign, line in self.body if sign == "+")

    @property
    def changes(self) -> bool:
        """Tell whether it does more than to name lines."""
        return any(sign != " " for sign, _ in self.body)

    @property
    def readings(self) -> Iterator["Hunk"]:
        """Return it in each reading, the strictest first."""
        yield self
        for body in self.others:
            yield replace(self, body=body, others=())


def require_text(text: str) -> None:
    """Refuse what cannot stand in a module: NUL, and half a character."""
    if "\0" in text:
        raise PatchRejected("The edit contains a NUL character, which code cannot contain.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PatchRejected(
            f"The edit contains half a character (the surrogate U+{ord(text[error.start]):04X}). "
            "Write the whole character, or its escape in a Python string."
        ) from None


def parse(patch: str, *, is_blank: bool) -> list[list[Hunk] | Rewrite]:
    """Return what a patch does, section by section; raise PatchRejected.

    `is_blank` says that the module has no code yet: there `+` lines are the whole module.
    """
    require_text(patch)
    text = patch.replace("\r\n", "\n")
    lines = _unwrapped(text.split("\n"))
    if any(_SEARCH.match(line) for line in lines):
        sections: list[list[Hunk] | Rewrite] = [_blocks(lines)]
    elif _is_module(lines):
        sections = [Rewrite(tuple(without_numbers(lines)))]
    else:
        sections = [section.read() for section in _sections(lines)]
    sections = [section for section in sections if section != []]
    if not sections:
        raise PatchRejected(f"The patch is empty. {_FORM}")
    if not any(isinstance(s, Rewrite) or any(hunk.changes for hunk in s) for s in sections):
        raise PatchRejected(f"The patch has no line that begins with `+` or `-`. {_FORM}")
    return [_first_module(section) for section in sections] if is_blank else sections


def _first_module(section: list[Hunk] | Rewrite) -> list[Hunk] | Rewrite:
    if isinstance(section, Rewrite) or any(hunk.old or hunk.anchors for hunk in section):
        return section
    lines = [line for hunk in section for line in hunk.added]
    return Rewrite(tuple(lines)) if any(map(_SDK_IMPORT.match, lines)) else section


def without_numbers(lines: Sequence[str]) -> list[str]:
    """Take away line numbers that were copied from the listing, if each line has one."""
    found = [_NUMBERED.match(line) for line in lines]
    if not all(match or not line.strip() for match, line in zip(found, lines, strict=True)):
        return list(lines)
    return [f"{match['sign']}{match['text'] or ''}" if match else "" for match in found]


# --- wrappers -----------------------------------------------------------------------------


def _unwrapped(lines: list[str]) -> list[str]:
    for _ in range(_WRAPPERS):
        lines = _trimmed(lines)
        inner = _without_envelope(_without_fence(_without_heredoc(lines)))
        if inner == lines:
            break
        lines = inner
    return lines


def _trimmed(lines: list[str]) -> list[str]:
    filled = [number for number, line in enumerate(lines) if line.strip(f"{_BOM} \t")]
    lines = lines[filled[0] : filled[-1] + 1] if filled else []
    return [lines[0].lstrip(_BOM), *lines[1:]] if lines else []


def _without_heredoc(lines: list[str]) -> list[str]:
    match = _HEREDOC.match(lines[0]) if lines else None
    if not match:
        return lines
    if ">" in match["to"]:
        require_file(match["to"].strip(" >"))
    ends = [n for n, line in enumerate(lines) if line.strip(" \t'\");") == match["tag"]]
    return lines[1 : ends[-1]] if ends else lines[1:]


def _without_fence(lines: list[str]) -> list[str]:
    fences = [number for number, line in enumerate(lines) if _FENCE.match(line)]
    if not fences:
        return lines
    first, last = fences[0], fences[-1]
    inside = lines[first + 1 : last] if last > first else lines[first + 1 :]
    if first == 0:
        return inside
    # words before and after a patch; a module may have fences in its texts
    begins = _BEGIN.match, _SEARCH.match, re.compile(r"@@|--- |\*\*\* |diff --git ").match
    return inside if any(test(line) for line in inside[:3] for test in begins) else lines


def _without_envelope(lines: list[str]) -> list[str]:
    begins = [number for number, line in enumerate(lines) if _BEGIN.match(line)]
    if begins:
        lines = lines[begins[0] :]
    ends = [number for number, line in enumerate(lines) if _END.match(line)]
    if ends:
        lines = lines[: ends[-1]]
    if not begins and not ends:
        return lines
    return [line for line in lines if not _BEGIN.match(line) and not _END.match(line)]


def _is_module(lines: Sequence[str]) -> bool:
    """Tell whether the lines are a module, not a diff: what looks like a sign is inside texts."""
    lines = without_numbers(lines)
    if not lines or not lines[0] or lines[0].startswith((" ", "+", "-", "\t", "\\", "@@", "***")):
        return False
    if not any(map(_IMPORT.match, lines)):
        return False
    continues = Layout(lines).continues
    begun = [line for line, goes_on in zip(lines, continues, strict=True) if not goes_on]
    signed = ("+", "-", "@@", "***", "diff --git ")
    return any(map(_IMPORT.match, begun)) and not any(line.startswith(signed) for line in begun)


# --- files --------------------------------------------------------------------------------


def require_file(name: str) -> None:
    """Refuse every file but the module."""
    name = name.partition("\t")[0].strip().strip("`'\"").strip()
    folder, _, file = name.replace("\\", "/").rpartition("/")
    folders = [part for part in folder.split("/") if part not in ("", ".")]
    if file != FILE or len(folders) > 1 or not _FOLDERS.issuperset(folders):
        raise PatchRejected(
            f"The patch names the file `{name[:_LONGEST_NAME]}`. The project has one file, {FILE}: "
            f"put the code into it, and name no other file. Nothing of the patch was applied."
        )


def _refuse_deletion() -> None:
    raise PatchRejected(f"{FILE} cannot be deleted. Remove the lines that have to go with a patch.")


# --- sections -----------------------------------------------------------------------------


@dataclass
class _RawHunk:
    anchors: list[str] = field(default_factory=list)
    number: int | None = None
    is_at_end: bool = False
    lines: list[str] = field(default_factory=list)


@dataclass
class _Section:
    is_new: bool = False
    hunks: list[_RawHunk] = field(default_factory=list)

    def open(self) -> _RawHunk:
        if not self.hunks:
            self.hunks.append(_RawHunk())
        return self.hunks[-1]

    def read(self) -> list[Hunk] | Rewrite:
        lines = [line for hunk in self.hunks for line in hunk.lines]
        if not any(line.strip() for line in lines):
            return []
        if self.is_new:
            return Rewrite(tuple(_new_lines(_trimmed(lines))))
        if _is_module(lines) and not any(hunk.anchors for hunk in self.hunks):
            return Rewrite(tuple(without_numbers(_trimmed(lines))))
        filled = [hunk for hunk in self.hunks if hunk.lines]
        count = len(filled)
        return [
            _hunk(hunk, f"Hunk {number} of {count}" if count > 1 else "The hunk")
            for number, hunk in enumerate(filled, start=1)
        ]


def _sections(lines: Sequence[str]) -> list[_Section]:
    sections = [_Section()]
    in_git_header = False
    skipped = -1
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if number == skipped:
            continue
        if match := _HEADER.match(line):
            _begin(sections, match["verb"].lower(), match["name"])
        elif line.startswith("diff --git "):
            for name in line.split()[2:4]:
                require_file(name)
            sections.append(_Section())
            in_git_header = True
        elif line.startswith("--- ") and below.startswith("+++ "):
            _begin_unified(sections, line[4:], below[4:])
            skipped, in_git_header = number + 1, False
        elif in_git_header and _GIT.match(line):
            if line.startswith("deleted"):
                _refuse_deletion()
        elif line.startswith("@@"):
            in_git_header = False
            _begin_hunk(sections[-1], line)
        else:
            _add_line(sections[-1], line)
    return sections


def _begin(sections: list[_Section], verb: str, name: str) -> None:
    require_file(name)
    if verb in ("delete", "remove"):
        _refuse_deletion()
    if verb not in ("move", "rename"):
        sections.append(_Section(is_new=verb in ("add", "create")))


def _begin_unified(sections: list[_Section], before: str, after: str) -> None:
    if after.partition("\t")[0].strip() == "/dev/null":
        require_file(before)
        _refuse_deletion()
    is_new = before.partition("\t")[0].strip() == "/dev/null"
    for name in (after,) if is_new else (before, after):
        require_file(name)
    if sections[-1].hunks:
        sections.append(_Section())
    sections[-1].is_new = is_new


def _begin_hunk(section: _Section, line: str) -> None:
    text = line.strip().lstrip("@").strip()
    number = None
    if match := _NUMBERS.match(text):
        number, text = int(match["line"]), text[match.end() :]
    if match := _NUMBERED.match(text):
        text = match["text"] or ""
    text = text.strip().removesuffix("@@").strip().strip("…").strip()
    text = "" if set(text) <= {"."} else text
    if not section.hunks or section.hunks[-1].lines:
        section.hunks.append(_RawHunk())
    hunk = section.hunks[-1]
    hunk.number = number if number is not None else hunk.number
    if text:
        hunk.anchors.append(text)


def _add_line(section: _Section, line: str) -> None:
    if line.startswith("\\"):  # no newline at end of file
        return
    if not line.startswith("***"):
        section.open().lines.append(line)
    elif line.lower().startswith("*** end of file"):
        section.open().is_at_end = True
    elif line.strip("* "):
        raise PatchRejected(f"The line `{line[:_LONGEST_NAME]}` is not part of a patch. {_FORM}")


def _new_lines(lines: Sequence[str]) -> list[str]:
    if not any(line.startswith("+") for line in lines):
        return without_numbers(lines)
    for line in lines:
        if line.strip() and not line.startswith("+"):
            raise PatchRejected(
                f"The line `{line[:_LONGEST_NAME]}` of a new file does not begin with `+`. Begin "
                "each line with `+`, or change the module with an update."
            )
    return without_numbers([line[1:] for line in lines])


# --- hunks --------------------------------------------------------------------------------

_SPACES = (" ", "\u00a0")
_Body = tuple[tuple[str, str], ...]


def _hunk(raw: _RawHunk, title: str) -> Hunk:
    lines = list(raw.lines)
    while lines and not lines[-1]:
        lines.pop()
    lines, number = _without_copied_numbers(lines)
    bodies = dict.fromkeys(
        _body(lines, is_bare=is_bare, adds_blanks=adds_blanks)
        for is_bare in (False, True)
        for adds_blanks in (False, True)
    )
    return Hunk(
        next(iter(bodies)),
        title,
        tuple(raw.anchors),
        raw.number if raw.number is not None else number,
        raw.is_at_end,
        tuple(bodies)[1:],
    )


def _body(lines: Sequence[str], *, is_bare: bool, adds_blanks: bool) -> _Body:
    """Read the lines of a hunk.

    `is_bare` takes context as not indented by its space; `adds_blanks` takes empty lines between
    added ones as added.
    """
    if not any(line and not line.startswith("+") for line in lines) and lines and lines[0]:
        adds_blanks = True  # nothing but additions
    body: list[tuple[str, str]] = []
    for place, line in enumerate(lines):
        if line.startswith(("+", "-")):
            body.append((line[0], line[1:]))
        elif not line and adds_blanks and body and body[-1][0] == "+" and _adds(lines, place):
            body.append(("+", ""))
        else:
            body.append((" ", line if is_bare or line[:1] not in _SPACES else line[1:]))
    return tuple(body)


def _adds(lines: Sequence[str], place: int) -> bool:
    following = next((line for line in lines[place:] if line), "")
    return following.startswith("+")


def _without_copied_numbers(lines: list[str]) -> tuple[list[str], int | None]:
    """Take away numbers that all lines of the module have, or all lines if they are all new."""
    old = [line for line in lines if line.strip() and not line.startswith("+")]
    found = [_NUMBERED.match(line) for line in old or lines]
    first = found[0] if found else None
    if first is None or not all(found):
        return lines, None
    plain: list[str] = []
    for line in lines:
        match = _NUMBERED.match(line)
        plain.append(f"{match['sign'] or ' '}{match['text'] or ''}" if match else line)
    leads = old and not lines[0].startswith("+")
    return plain, int(first["line"]) if leads else None


# --- SEARCH/REPLACE -----------------------------------------------------------------------


def _blocks(lines: Sequence[str]) -> list[Hunk]:
    hunks: list[Hunk] = []
    waiting = iter(lines)
    above = ""
    for line in waiting:
        if _SEARCH.match(line):
            if match := _FILE_NAME.match(above):
                require_file(match[1])
            old = _until(_DIVIDER, waiting)
            new = _until(_REPLACE, waiting)
            if not any(line.strip() for line in old):
                old = []
            body = [*(("-", line) for line in old), *(("+", line) for line in new)]
            hunks.append(Hunk(tuple(body), f"Block {len(hunks) + 1}"))
            above = ""
        elif line.strip() and not _FENCE.match(line):
            above = line
    return hunks


def _until(end: re.Pattern[str], lines: Iterable[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if end.match(line):
            return without_numbers(found)
        found.append(line)
    raise PatchRejected(
        "A SEARCH block is not complete: it is `<<<<<<< SEARCH`, the old lines, `=======`, the new "
        "lines, `>>>>>>> REPLACE`."
    )
