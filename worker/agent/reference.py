"""What the installed Agents SDK says of a name: its signature, its documentation, its fields."""

import dataclasses
import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import agents

from worker.agent.source import Layout

_LONGEST = 6_000
_LONGEST_NAME = 100
_LONGEST_LINE = 300
_SUGGESTIONS = 5
_FIELD = re.compile(r"(?P<name>\w+): (?P<text>[^#]+)")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
# the only modules that a lookup imports
_MODULES = ("extensions.handoff_filters", "extensions.handoff_prompt", "mcp", "realtime", "sandbox")


class _Unknown(Exception):
    """The SDK has no such public name."""


def sdk_reference(name: str) -> str:
    """Describe a public name of the SDK, such as `Agent.as_tool`; suggest others if it has none.

    Nothing but attributes of the SDK's own modules and classes is read.
    """
    path = name[:_LONGEST_NAME].encode("ascii", "replace").decode()
    path = path.strip("` \n").removesuffix("()").removeprefix("agents.")
    try:
        text = _described(path, _find(path))
    except _Unknown:
        return _suggestions(path)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n... (cut)"


def _find(path: str) -> Any:
    found: Any = agents
    names = path.split(".")
    for module in _MODULES:
        if path == module or path.startswith(f"{module}."):
            rest = path.removeprefix(module).removeprefix(".")
            found, names = _module(module), rest.split(".") if rest else []
    for name in names:
        found = _attribute(found, name)
    if found is agents:
        raise _Unknown
    return found


def _attribute(owner: Any, name: str) -> Any:
    if name.startswith("_"):
        raise _Unknown
    if isinstance(owner, ModuleType):
        if name not in _public(owner):
            raise _Unknown
        return getattr(owner, name)
    if not isinstance(owner, type):
        raise _Unknown
    if text := _fields(owner).get(name):
        return _Field(text)
    try:
        found = inspect.getattr_static(owner, name)
    except AttributeError:
        raise _Unknown from None
    return found.__func__ if isinstance(found, staticmethod | classmethod) else found


@dataclasses.dataclass(frozen=True)
class _Field:
    text: str


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"agents.{name}")


@functools.cache
def _public(module: ModuleType) -> frozenset[str]:
    names = getattr(module, "__all__", None) or dir(module)
    return frozenset(
        name
        for name in names
        if not name.startswith("_") and not isinstance(getattr(module, name, None), ModuleType)
    )


def _described(path: str, found: Any) -> str:
    if isinstance(found, _Field):
        return f"agents.{path}: {found.text}"
    if isinstance(found, ModuleType):
        return f"agents.{path}: {_doc(found)}\nIt has: {', '.join(sorted(_public(found)))}"
    if inspect.isclass(found):
        return "\n".join([f"class agents.{path}{_parameters(found)}", _doc(found), *_parts(found)])
    if isinstance(found, property):
        return f"agents.{path} is a property.\n{_doc(found)}"
    if inspect.isroutine(found):
        kind = "async " if inspect.iscoroutinefunction(found) else ""
        return f"{kind}agents.{path}{_signature(found)}\n{_doc(found)}"
    return f"agents.{path} = {_cut(_ADDRESS.sub('', repr(found)))}"


def _parts(found: type) -> Iterator[str]:
    fields = _fields(found)
    for name, text in fields.items():
        yield f"  {name}: {_cut(text)}"
    for name, member in inspect.getmembers_static(found):
        if isinstance(member, staticmethod | classmethod):
            member = member.__func__  # noqa: PLW2901 -- as it is called
        if not name.startswith("_") and name not in fields and inspect.isroutine(member):
            yield f"  {name}{_cut(_signature(member))}"


def _signature(found: Any) -> str:
    try:
        return _ADDRESS.sub("", str(inspect.signature(found)).replace("'", ""))
    except (TypeError, ValueError):
        return "(...)"


def _parameters(found: type) -> str:
    """Return a class's parameters without their types, which stand with its fields."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return ""
    if not _fields(found):
        return _signature(found)
    names = [
        f"{item.name}=..." if item.default is not item.empty else item.name for item in parameters
    ]
    return f"({', '.join(names)})"


def _doc(found: Any) -> str:
    return inspect.getdoc(found) or "It has no documentation."


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."


@functools.cache
def _fields(found: Any) -> dict[str, str]:
    """Return each annotated field of an SDK class: its type, its default, its documentation."""
    texts: dict[str, str] = {}
    for base in reversed(found.__mro__):
        for text, following in pairwise([*_body(base), ""]):
            if (match := _FIELD.match(text)) and not match["name"].startswith("_"):
                doc = following.strip("\"' ")
                texts[match["name"]] = match["text"] + (f" -- {doc}" if doc != following else "")
    return texts


def _body(found: type) -> list[str]:
    """Return the statements of an SDK class, each as one line."""
    if found.__module__.partition(".")[0] != "agents":
        return []
    layout = _layout(found.__module__)
    begins = re.compile(rf"class {found.__name__}\b")
    for top in layout.statements:
        if any(map(begins.match, layout.lines[top.start : top.body])):
            body = [s for s in layout.statements if top.body <= s.start < top.end]
            body = [item for item in body if item.indent == body[0].indent]
            return [" ".join(" ".join(layout.lines[s.start : s.body]).split()) for s in body]
    return []


@functools.cache
def _layout(module: str) -> Layout:
    """Read a module of the SDK, not with `ast` or with what uses it, as `inspect.getsource` does.

    Its parser must not run in two threads of Python 3.11 at once, and the formatting of every
    traceback runs it.
    """
    path = inspect.getsourcefile(importlib.import_module(module))
    return Layout(Path(path).read_text(encoding="utf-8").split("\n") if path else [])


def _suggestions(path: str) -> str:
    last = path.rpartition(".")[2]
    known = _known()
    same = [full for full in known if full.rpartition(".")[2] == last]
    lower = {full.lower(): full for full in known}
    near = difflib.get_close_matches(path.lower(), lower, n=_SUGGESTIONS, cutoff=0.6)
    suggested = list(dict.fromkeys([*same, *(lower[item] for item in near)]))[:_SUGGESTIONS]
    hint = f" Did you mean {', '.join(suggested)}?" if suggested else ""
    return f"The installed Agents SDK has no public name `{path}`.{hint}"


@functools.cache
def _known() -> tuple[str, ...]:
    names = list(_public(agents))
    for module in _MODULES:
        names += (f"{module}.{name}" for name in _public(_module(module)))
    for name in list(names):
        if inspect.isclass(found := _find(name)):
            members = (part for part in vars(found) if not part.startswith("_"))
            names += (f"{name}.{part}" for part in {*members, *_own_fields(found)})
    return tuple(sorted(names))


def _own_fields(found: type) -> frozenset[str]:
    return frozenset(getattr(found, "__annotations__", ()))
