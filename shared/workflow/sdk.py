"""The names of the installed Agents SDK, read from its source: to import it takes 2.6 s."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "agents"


@cache
def exported_names(module: str) -> frozenset[str] | None:
    """Return the names that a module of the SDK has, or None if a type checker knows them better.

    A module with a `__getattr__` of its own has any name for a type checker. Its names are those
    that it binds, those of its submodules, and those that its strings spell: they are how it knows
    which names it makes on demand.
    """
    path = _path(module)
    if path is None:
        return None
    tree = ast.parse(path.read_bytes())
    bound = {name for statement in tree.body for name in _bound(statement)}
    if "__getattr__" not in bound:
        return None
    strings = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    beside = path.parent.iterdir() if path.name == "__init__.py" else ()
    submodules = {item.name.removesuffix(".py") for item in beside}
    return frozenset(name for name in bound | strings | submodules if name.isidentifier())


def _path(module: str) -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None or not module.isascii():
        return None
    first, *rest = module.split(".")
    if first != PACKAGE:
        return None
    base = Path(found.origin).parent.joinpath(*rest)
    return next(
        (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None
    )


def _bound(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            for alias in names:
                yield alias.asname or alias.name.partition(".")[0]
        case _:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id
                elif isinstance(node, ast.stmt) and node is not statement:
                    yield from _bound(node)
