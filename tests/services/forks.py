"""Processes of the service, forked from one that has imported the libraries.

A worker's libraries take seconds of CPU to import, and the tests start some forty processes. A
forked process runs our own code from its start, as `python -m MODULE` does, in a session and an
environment of its own; it ends with the process that asked for it.
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = [
    "agents",
    "aiosqlite",
    "alembic.command",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "fakeredis",
    "fastapi",
    "filelock",
    "httptools",
    "kombu.transport.redis",
    "openai",
    "prometheus_client",
    "psycopg",
    "pydantic_settings",
    "redis.asyncio",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
    "structlog",
    "uvicorn",
    "uvloop",
]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_LIBRARIES)
_PR_SET_PDEATHSIG = 1


class Forked:
    """What tests use of `subprocess.Popen`, of a process that another one has forked."""

    def __init__(
        self, module: str, *, cwd: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        named = {"module": module, "cwd": cwd, "environment": dict(environment), "log": log}
        # of a process that is no daemon Python would wait for the end when the tests end
        self._process = _FORKS.Process(target=_run, kwargs=named, daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code; a negative one is a signal's number."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process.name), timeout or 0)
        return self._process.exitcode

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()


def _run(*, module: str, cwd: Path, environment: dict[str, str], log: Path) -> None:
    """Become `python -m MODULE` with an environment and a log of its own."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.chdir(cwd)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
