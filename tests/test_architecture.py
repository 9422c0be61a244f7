"""The rules that keep the code small enough to be read and its parts apart."""

import re
import subprocess
import sys
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


def test_one_module_alone_asks_which_database_it_is() -> None:
    asked = re.compile(r"dialect\.name\b|sqlalchemy\.dialects|\"(sqlite|postgresql)\"")
    # the settings say it, Alembic writes SQLite's tables anew to change them
    may = {"shared/dialects.py", "shared/settings.py", "shared/migrations/env.py"}
    files = [path for name in ("api", "worker", "shared") for path in (ROOT / name).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if asked.search(path.read_text())}
    assert found == may
