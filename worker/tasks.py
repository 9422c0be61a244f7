"""The Celery tasks: a name, an id, one call."""

from uuid import UUID

from celery import Task, shared_task
from celery.worker.request import Request
from typing_extensions import override

from shared.logging import get_logger
from shared.queue import MESSAGE_RUN
from worker import attempt, process

_log = get_logger(__name__)


class _UnacknowledgedRequest(Request):  # type: ignore[misc]
    """A request of a queue that is `no_ack`: Celery would delete a record that is not there."""

    @override
    def acknowledge(self) -> None:
        self.acknowledged = True


class _Task(Task):  # type: ignore[misc]
    Request = _UnacknowledgedRequest


@shared_task(base=_Task, name=MESSAGE_RUN)
def run_message(message_id: str) -> None:
    """Answer a message, on the loop of this process; drop what names none."""
    try:
        known = UUID(message_id)
    except (ValueError, TypeError, AttributeError):
        _log.warning("malformed task, dropped", reason="its argument is no message id")
        return
    runtime = process.runtime()
    runtime.run(attempt.run_message(known, context=runtime.context))
