"""The whole service inside one test process: eager Celery, fakeredis, a SQLite file.

`eager_service` answers a POST with the offline model before the hint is "sent": for fast tests.
`idle_service` has no worker at all, so that messages stay unfinished for as long as a test wants.
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from starlette.testclient import TestClient

from api.app import create_app
from shared.queue import make_celery
from shared.schema import migrate
from shared.settings import Settings
from worker import process


@contextmanager
def eager_service(data_dir: Path, **settings: Any) -> Iterator[TestClient]:
    """Serve with a worker that runs each hint where it is sent."""
    chosen, celery = _prepare(data_dir, settings)
    celery.conf.task_always_eager = True
    celery.loader.import_default_modules()
    celery.finalize()
    process.start(chosen, celery)
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            TestClient(create_app(chosen, celery=celery)) as client,
        ):
            # an eager hint is "sent" only when its message was answered
            patch.setattr("shared.queue._SEND_LIMIT_S", 30)
            yield client
    finally:
        process.stop()


@contextmanager
def idle_service(data_dir: Path, **settings: Any) -> Iterator[TestClient]:
    """Serve without any worker: hints go to a queue that nobody reads."""
    chosen, celery = _prepare(data_dir, settings)
    with TestClient(create_app(chosen, celery=celery)) as client:
        yield client


def _prepare(data_dir: Path, settings: dict[str, Any]) -> tuple[Settings, Celery]:
    chosen = Settings(data_dir=data_dir, namespace=f"test-{uuid4()}", **settings)
    data_dir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_migrated(), chosen.database_location)
    return chosen, make_celery(chosen)


@cache
def _migrated() -> Path:
    """Make a database with the newest schema, once: that takes longer than most tests."""
    directory = Path(tempfile.mkdtemp(prefix="vibecoder-schema-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    settings = Settings(data_dir=directory)
    migrate(settings)
    return Path(settings.database_location)
