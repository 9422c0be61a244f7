"""`ty`, the type checker, on one module; to be called in a child process with limits."""

import importlib
import json
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CPU_S = 8
_LIMIT_S = 20.0
_NAME = "workflow.py"
_ENVIRONMENT = {"TY_MAX_PARALLELISM": "1", "RAYON_NUM_THREADS": "1"}


class Unavailable(Exception):
    """The type checker did not do its work; the text is the reason."""


@dataclass(frozen=True)
class Finding:
    """One problem that `ty` reports, with the place of its first character, both from 1."""

    line: int
    column: int
    rule: str
    message: str


def find_problems(code: str, *, python: str, environment: str) -> list[Finding]:
    """Run `ty` for a version of Python and the packages of an environment.

    Raises:
        Unavailable: it is not installed, takes too much time or memory, or fails.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            return list(_run(Path(folder), code, python=python, environment=environment))
    except (FileNotFoundError, ImportError):
        raise Unavailable("`ty` is not installed, or there is no folder for its files") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"`ty` does not run: {type(error).__name__}") from None


def _run(folder: Path, code: str, *, python: str, environment: str) -> Iterator[Finding]:
    (folder / _NAME).write_text(code, encoding="utf-8", newline="")
    # with a file of settings no other counts: neither one of a folder above, nor one of the user,
    # nor the module's own `# /// script`, which could have other folders read
    settings = folder / "ty.toml"
    settings.touch()
    ty = importlib.import_module("ty").find_ty_bin()
    command = [
        *(ty, "check", "--project", str(folder), "--config-file", str(settings)),
        *("--python", environment, "--python-version", python, "--output-format", "gitlab"),
        *("--color", "never", "--no-progress", "--exit-zero", str(folder / _NAME)),
    ]
    output = folder / "output"
    with output.open("wb") as written:
        status = _wait(
            subprocess.Popen(  # noqa: S603 -- no shell, and no argument is of the module
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=_ENVIRONMENT | {"HOME": str(folder)},
            )
        )
    text = output.read_text(encoding="utf-8", errors="replace")
    found = list(_objects(text))
    if status != 0 and not found:
        raise Unavailable("`ty` failed, or took too much memory or time")
    for item in found:
        begin = item["location"]["positions"]["begin"]
        rule = item["check_name"]
        message = item["description"].removeprefix(f"{rule}: ")
        yield Finding(begin["line"], begin["column"], rule, message)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    # what it inherits are the child's limits: all its jobs' CPU time, and of this one
    if hasattr(resource, "prlimit"):
        with suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    try:
        return process.wait(_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Read the objects of a JSON array, of one that was cut off too: a file has a limit."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            item, end = decoder.raw_decode(text, place)
        except ValueError:
            return
        yield item
        place = text.find("{", end)
