"""Applying a unified diff, apart from the code that makes them."""

import re

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")


def apply_unified(before: str, diff: str) -> str:
    """Return what the diff makes of a text; raise ValueError where it does not fit."""
    source = _lines(before)
    result: list[str] = []
    position = 0
    for line in _joined(diff):
        if line.startswith(("--- ", "+++ ")) and not result and not position:
            continue
        if hunk := _HUNK.match(line):
            start, length = int(hunk[1]), int(hunk[2] or 1)
            start = start - 1 if length else start
            result += source[position:start]
            position = start
            continue
        kind, text = line[0], line[1:]
        if kind in " -":
            if source[position : position + 1] != [text]:
                raise ValueError(f"line {position + 1} is not {text!r}")
            position += 1
        if kind in " +":
            result.append(text)
    return "".join(result + source[position:])


def _lines(text: str) -> list[str]:
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _joined(diff: str) -> list[str]:
    """Split a diff into its lines; what has no newline at the end says so one line below."""
    lines: list[str] = []
    for line in _lines(diff):
        if line.startswith("\\"):
            lines[-1] = lines[-1].removesuffix("\n")
        else:
            lines.append(line)
    return lines
