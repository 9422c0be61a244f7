"""The runtime of this worker process: begun before its first task, ended after its last."""

from celery import Celery

from shared.process import allow_open_files, keep_files_private
from shared.settings import Settings
from worker.runtime import Runtime

_current: list[Runtime] = []


def start(settings: Settings, app: Celery) -> Runtime:
    """Start the process's runtime."""
    allow_open_files()
    keep_files_private(settings.data_dir)
    runtime = Runtime(settings, app)
    runtime.start()
    _current.append(runtime)
    return runtime


def runtime() -> Runtime:
    """Return the process's runtime."""
    return _current[-1]


def stop() -> None:
    """Stop the process's runtime."""
    _current.pop().stop()
