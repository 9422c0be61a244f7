"""`python -m worker`: the app of a worker process; pool and concurrency come from the settings."""

import threading
from typing import Any

from celery import signals
from celery.worker.consumer import Consumer

from shared.collector import tune_gc
from shared.errors import SettingsError, VibeCoderError
from shared.logging import configure_logging, get_logger
from shared.queue import make_celery
from shared.settings import load_settings
from worker import process

_WAKE_S = 0.05
_log = get_logger(__name__)

try:
    settings = load_settings()
except SettingsError as error:
    raise SystemExit(f"vibecoder worker: {error}") from None
app = make_celery(settings)
app.conf.worker_consumer = "worker.consumer:TaskConsumer"


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging(settings)


@signals.worker_init.connect
def _start(**_: Any) -> None:
    try:
        process.start(settings, app)
    except VibeCoderError as error:
        raise SystemExit(f"vibecoder worker: {error}") from None


@signals.worker_ready.connect
def _ready(sender: Consumer, **_: Any) -> None:
    # Celery's loop notices a slot that became free when it wakes; by itself it sleeps up to 1 s
    sender.timer.call_repeatedly(_WAKE_S, lambda: None)
    tune_gc()
    _log.info("worker ready", model=settings.default_model, slots=settings.worker_concurrency)


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    # Celery waits for running tasks without a limit; the limit is ours
    timer = threading.Timer(settings.drain_s, process.runtime().release_all)
    timer.daemon = True
    timer.start()


@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    process.stop()
