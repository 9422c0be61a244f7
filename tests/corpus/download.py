"""Bring the source distribution of the installed Agents SDK here, with pip alone."""

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from tests.services import ROOT

_FOLDER = ROOT / ".corpus"
_PACKAGE = "openai-agents"


def example_modules() -> dict[str, str]:
    """Return the text of each example module, by its path below `examples/`."""
    with tarfile.open(_archive()) as archive:
        found: dict[str, str] = {}
        for member in archive:
            _, _, path = member.name.partition("/examples/")
            file = archive.extractfile(member) if path.endswith(".py") else None
            if file:
                found[path] = file.read().decode()
    return dict(sorted(found.items()))


def _archive() -> Path:
    wanted = version(_PACKAGE)
    pattern = f"{_PACKAGE.replace('-', '_')}-{wanted}.tar.gz"
    if not (found := list(_FOLDER.glob(pattern))):
        # pip builds the metadata of a source distribution before it keeps it: there is no way
        # around that, but it takes seconds
        command = [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"),
            *("--no-deps", "--no-binary", _PACKAGE, "--dest", str(_FOLDER)),
            f"{_PACKAGE}=={wanted}",
        ]
        subprocess.run(command, check=True)
        found = list(_FOLDER.glob(pattern))
    return found[0]
