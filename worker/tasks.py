"""The Celery tasks: a name, an id, one call."""

from uuid import UUID

from celery import Task, shared_task
from celery.worker.request import Request
from typing_extensions import override

from shared.queue import MESSAGE_RUN, SESSION_CHECK, SESSION_REPAIR
from worker import attempts, checks, process


class _UnacknowledgedRequest(Request):  # type: ignore[misc]
    """A request of a queue that is `no_ack`: Celery would delete a record that is not there."""

    @override
    def acknowledge(self) -> None:
        self.acknowledged = True


class _Task(Task):  # type: ignore[misc]
    Request = _UnacknowledgedRequest


@shared_task(base=_Task, name=MESSAGE_RUN)
def run_message(message_id: str) -> None:
    """Answer a message, on the loop of this process."""
    runtime = process.runtime()
    runtime.run(attempts.run_message(UUID(message_id), parts=runtime.parts))


@shared_task(base=_Task, name=SESSION_CHECK)
def check_session(check_id: str) -> None:
    """Compare what a session's rows and this worker's memory file say."""
    runtime = process.runtime()
    runtime.run(checks.check_session(UUID(check_id), parts=runtime.parts))


@shared_task(base=_Task, name=SESSION_REPAIR)
def repair_session(check_id: str) -> None:
    """Mend a session's rows and this worker's memory file."""
    runtime = process.runtime()
    runtime.run(checks.repair_session(UUID(check_id), parts=runtime.parts))
