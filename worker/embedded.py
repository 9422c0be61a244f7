"""A worker inside the API process, for one command without infrastructure."""

import threading
from uuid import uuid4

from celery import Celery
from celery.worker import WorkController, state

from shared.queue import make_celery, send_task
from shared.settings import Settings
from worker import process


class EmbeddedWorker:
    """A Celery worker in a thread, on kombu's memory broker."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = make_celery(settings)
        self._settings = settings

    def start(self) -> None:
        """Start the runtime and consume; returns when it takes tasks."""
        self._app.finalize()
        process.start(self._settings, self._app)
        consuming = threading.Event()
        state.should_stop = None
        worker = WorkController(
            app=self._app,
            ready_callback=lambda _consumer: consuming.set(),
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        self._thread = threading.Thread(target=worker.start, name="celery", daemon=True)
        self._thread.start()
        consuming.wait()

    def stop(self) -> None:
        """Release what runs, at once, and end."""
        process.runtime().release_all()
        state.should_stop = 0
        # a task for no message wakes the consumer, which would look only every 2 s
        send_task(self._app, uuid4())
        self._thread.join()
        process.stop()
