"""What tests let a child process do."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from shared.errors import InvalidWorkflow


def pid() -> int:
    return os.getpid()


def mark(path: str) -> int:
    """Say that it runs, and by which process."""
    Path(path).write_text(str(os.getpid()))
    return os.getpid()


def wait(path: str, until: str) -> int:
    """Say that it runs, and run until a file is there."""
    mark(path)
    while not Path(until).exists():
        time.sleep(0.01)
    return os.getpid()


def spin() -> None:
    while True:
        pass


def burn(seconds: float) -> int:
    """Use CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return os.getpid()


def allocate(size: int) -> int:
    return len(b"x" * size)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def killed_once(path: str) -> int:
    """End as by somebody else's signal, the first time."""
    if not Path(path).exists():
        mark(path)
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def killed_always() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise KeyError("a reason")


def refuse() -> None:
    raise InvalidWorkflow("no", errors=[{"line": 3, "detail": "no"}])


def flood(size: int) -> str:
    return "x" * size


def echo(value: Any) -> Any:
    return value


def surroundings() -> dict[str, Any]:
    """Tell what the process knows of its parent."""
    names = ("DATA", "AS", "CORE", "FSIZE", "NOFILE")
    return {
        "environment": sorted(os.environ),
        "descriptors": sorted(path.name for path in Path("/proc/self/fd").iterdir()),
        "limits": [resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0] for name in names],
        "group": os.getpgid(0) == os.getpid(),
        "folder": os.environ["TMPDIR"],
        "mode": Path(os.environ["TMPDIR"]).stat().st_mode & 0o777,
    }


_HELD: list[bytes] = []


def hold(size: int) -> None:
    _HELD.append(b"x" * size)
