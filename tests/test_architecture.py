"""The rules that keep the code small enough to be read and its parts apart."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import ROOT, clean_environment

MODULE_LINES = 300
FUNCTION_LINES = 40
JOURNEY_LINES = 2000

# a message's way through the code, as the picture in the README names it; shared/store/usual.py is
# a short cut past four of them
JOURNEY = [
    "api/sessions.py",
    "api/replies.py",
    "shared/commits.py",
    "shared/store/acceptance.py",
    "shared/store/claims.py",
    "shared/store/transitions.py",
    "shared/store/heads.py",
    "shared/queue.py",
    "worker/tasks.py",
    "worker/attempts.py",
    "worker/memory.py",
    "worker/vibecoder.py",
]


def modules(*places: str) -> list[Path]:
    found = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path for path in found if "versions" not in path.parts]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    statements = function.body[1 if ast.get_docstring(function) else 0 :]
    first, last = (statements or function.body)[0], function.body[-1]
    return (last.end_lineno or last.lineno) - first.lineno + 1


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


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("api.app", {"agents", "openai", "worker"}),
        ("worker.app", {"api", "fastapi"}),
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


@pytest.mark.parametrize("path", modules("api", "worker", "shared"), ids=relative)
def test_a_module_fits_a_readers_head(path: Path) -> None:
    assert lines(path) <= MODULE_LINES
    long = {node.name: body_lines(node) for node in functions(path)}
    assert not {name: size for name, size in long.items() if size > FUNCTION_LINES}


def test_a_messages_journey_is_read_in_one_sitting() -> None:
    assert sum(lines(path) for path in modules(*JOURNEY)) < JOURNEY_LINES
