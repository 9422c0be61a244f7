"""The rules that keep the code small enough to be read and its parts apart."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import ROOT, clean_environment


def test_imports_go_one_way() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.services
@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("api.app", {"agents", "genai_prices", "openai", "worker"}),
        ("worker.app", {"api", "fastapi", "genai_prices"}),
    ],
)
def test_a_process_loads_only_what_it_needs(
    module: str, unwanted: set[str], tmp_path: Path
) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    settings = {"VIBECODER_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not unwanted & set(done.stdout.split())
    assert not any(tmp_path.iterdir()), "importing a module has no side effect"


def test_one_module_alone_asks_which_database_it_is() -> None:
    asked = re.compile(r"dialect\.name\b|sqlalchemy\.dialects|\"(sqlite|postgresql)\"")
    # the settings say it, Alembic writes SQLite's tables anew to change them
    may = {"shared/dialects.py", "shared/settings.py", "shared/migrations/env.py"}
    files = [path for name in ("api", "worker", "shared") for path in (ROOT / name).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if asked.search(path.read_text())}
    assert found == may


OURS = ("api", "shared", "worker")
LIBRARIES = {"agents", "celery", "kombu", "openai", "sqlalchemy", "uvicorn"}
"""The libraries whose undocumented methods no class of ours overrides."""

UNDOCUMENTED_METHODS = {
    "api.__main__.Server": {"startup"},
    "api.protocol.BoundedProtocol": {
        "connection_lost",
        "connection_made",
        "data_received",
        "on_body",
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
    },
    "worker.model.client._Completions": {"create"},
    "worker.model.client._Responses": {"create"},
}
"""docs/decisions.md has the reason of each."""
NAMED_LIKE_PRIVATE_ONES = {"_asdict"}
"""They are documented: of named tuples and rows."""


def modules() -> dict[str, ast.Module]:
    """Parse all modules of ours but the migrations, by name."""
    found = {}
    for top in OURS:
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if ".migrations" not in name:
                found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def is_private(name: str) -> bool:
    return len(name) > 1 and name.startswith("_") and not name.endswith("__")


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module gives to something of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
                yield name


def used(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module imports from elsewhere, and the attributes that it reads."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (part for alias in node.names for part in alias.name.split("."))
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] not in OURS:
                yield from module.split(".")
                yield from (alias.name for alias in node.names)
            case ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name


def test_no_module_uses_a_private_name_of_another_library() -> None:
    trees = modules()
    known = NAMED_LIKE_PRIVATE_ONES.union(*map(defined, trees.values()))
    found = {
        module: names
        for module, tree in trees.items()
        if (names := {name for name in used(tree) if is_private(name)} - known)
    }
    assert found == {}


def test_no_class_overrides_an_undocumented_method_of_a_library() -> None:
    found: dict[str, set[str]] = {}
    for module in modules():
        if module.startswith(("worker.app", "worker.__main__")):
            continue
        classes = vars(importlib.import_module(module)).values()
        for ours in classes:
            if inspect.isclass(ours) and ours.__module__ == module:
                found.setdefault(f"{module}.{ours.__name__}", set()).update(undocumented(ours))
    assert {name: methods for name, methods in found.items() if methods} == UNDOCUMENTED_METHODS


def undocumented(ours: type) -> Iterator[str]:
    """Yield the methods that a class overrides although their library does not document them."""
    for base in ours.__mro__[1:]:
        if base.__module__.split(".")[0] in LIBRARIES:
            for name, method in vars(ours).items():
                overridden = vars(base).get(name)
                if (
                    inspect.isfunction(overridden)
                    and not name.endswith("__")
                    and method.__module__ == ours.__module__  # not what a decorator has added
                    and (is_private(name) or not overridden.__doc__)
                ):
                    yield name
