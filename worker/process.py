"""The runtime of this worker process: begun before its first task, ended after its last."""

import resource

from celery import Celery

from shared.settings import Settings
from worker.runtime import Runtime

_OPEN_FILES = 10_000
_current: list[Runtime] = []


def start(settings: Settings, app: Celery) -> Runtime:
    """Start the process's runtime."""
    _allow_open_files()
    runtime = Runtime(settings, app)
    runtime.start()
    _current.append(runtime)
    return runtime


def _allow_open_files() -> None:
    """Let the process open more files than a shell allows at first: each session has one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def runtime() -> Runtime:
    """Return the process's runtime."""
    return _current[-1]


def stop() -> None:
    """Stop the process's runtime."""
    _current.pop().stop()
