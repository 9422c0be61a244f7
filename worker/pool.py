"""The threads in which Celery runs tasks."""

from typing import Any

from celery.concurrency import thread
from kombu.asynchronous import get_event_loop
from typing_extensions import override


class TaskPool(thread.TaskPool):  # type: ignore[misc]
    """Celery's own, but a task that ends wakes the loop that takes hints.

    By itself that loop looks up to a second later whether a slot has become free: as long a worker
    whose slots were all taken does nothing with one. (Without prefetch Celery takes a hint only
    for a free slot.)
    """

    @override
    def on_apply(self, *args: Any, **options: Any) -> thread.ApplyResult:
        applied = super().on_apply(*args, **options)
        if hub := get_event_loop():  # none where Celery polls, as in the embedded mode
            # called last, when Celery has already counted the slot as free
            applied.f.add_done_callback(lambda _: hub.call_soon(_look))  # type: ignore[no-untyped-call]
        return applied


def _look() -> None:
    """Do nothing: once awake, the loop looks for itself."""
