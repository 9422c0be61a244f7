"""Read the arguments of a tool call as models send them: an object, a bare text, JSON in JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from worker.agent.patch_text import PatchRejected, require_file

_NESTED = 3
_PATHS = ("path", "file", "file_path", "filename", "file_name")
_BEGINNINGS = ("***", "@@", "---", "diff ", '"***', '"@@', '"---', '"diff ')
_ESCAPE = re.compile(r"\\([nrt\"\\])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}

Names = Mapping[str, Sequence[str]]
"""The parameters of a tool, each with the other names that models give it."""


def read_arguments(text: str, names: Names) -> dict[str, str]:
    """Return each parameter's text; raise PatchRejected with what has to be sent."""
    value = _decoded(text, names)
    if isinstance(value, str) and len(names) == 1:
        return {next(iter(names)): _unescaped(value)}
    if not isinstance(value, dict):
        raise _wrong("The arguments are not a JSON object", names)
    for key in _PATHS:
        if isinstance(value.get(key), str) and key not in names:
            require_file(value[key])
    return {name: _text(value, name, names) for name in names}


def _decoded(text: str, names: Names) -> Any:
    value: Any = text
    for _ in range(_NESTED):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value, strict=False)
        except RecursionError:
            raise _wrong("The arguments are nested too deeply", names) from None
        except ValueError as error:
            if value is text and text.lstrip().startswith(("{", "[", '"')):
                raise _wrong(f"The arguments are not valid JSON: {error}", names) from None
            break
    return value


def _text(values: dict[str, Any], name: str, names: Names) -> str:
    for key in (name, *names[name]):
        value = values.get(key)
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            # a command line, or one text for each line
            value = value[-1] if "\n" in value[-1] else "\n".join(value)
        if isinstance(value, str):
            inner = _inner(value, names)
            return _text(inner, name, names) if inner else _unescaped(value)
    raise _wrong(f"The argument `{name}` is missing or is no text", names)


def _inner(value: str, names: Names) -> dict[str, Any] | None:
    """Return the arguments that a text holds once more, as JSON."""
    if not value.lstrip().startswith("{"):
        return None
    try:
        inner = json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return None
    known = {key for name, others in names.items() for key in (name, *others)}
    return inner if isinstance(inner, dict) and known & inner.keys() else None


def _unescaped(value: str) -> str:
    """Undo a second encoding: line feeds as two characters, in a patch that has no other."""
    text = value.strip()
    if "\n" in text or "\\n" not in text or not text.startswith(_BEGINNINGS):
        return value
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text.strip('"'))


def _wrong(reason: str, names: Names) -> PatchRejected:
    form = ", ".join(f'"{name}": "..."' for name in names)
    return PatchRejected(f"{reason}. Send {{{form}}}.")
