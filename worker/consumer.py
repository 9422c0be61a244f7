"""Celery's consumer, which a malformed task does not end."""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

from shared.logging import get_logger

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError)
"""Errors of Celery and kombu for a malformed task."""
_log = get_logger(__name__)


class TaskConsumer(Consumer):  # type: ignore[misc]
    """Drop a malformed task, which anybody at Redis may have put there, and go on."""

    loop: Callable[..., None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop = partial(_go_on, self.loop)


def _go_on(loop: Callable[..., None], *args: Any) -> None:
    try:
        loop(*args)
    except _MALFORMED as error:
        _log.warning("malformed task, dropped", reason=type(error).__name__)
        # it left the queue already; Celery connects again after this kind of error, and goes on
        raise ConnectionResetError("malformed task") from error
