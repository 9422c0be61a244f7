"""The threads in which Celery runs tasks."""

from typing import Any

from celery.concurrency import thread
from typing_extensions import override


class TaskPool(thread.TaskPool):  # type: ignore[misc]
    """Celery's own, but a task that ends wakes the loop that takes hints.

    By itself that loop looks up to a second later whether a slot has become free: as long a worker
    whose slots were all taken does nothing with one. (Without prefetch Celery takes a hint only
    for a free slot.)
    """

    _hub: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        """Take the loop, at each connection to the broker; where Celery polls there is none."""
        self._hub = hub

    @override
    def on_apply(self, *args: Any, **options: Any) -> thread.ApplyResult:
        applied = super().on_apply(*args, **options)
        # called last, when Celery has already counted the slot as free
        applied.f.add_done_callback(self._wake)
        return applied

    def _wake(self, _: object) -> None:
        if self._hub is not None:
            self._hub.call_soon(_look)


def _look() -> None:
    """Do nothing: once awake, the loop looks for itself."""
