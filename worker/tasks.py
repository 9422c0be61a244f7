"""The Celery tasks: a name, an id, one call."""

from uuid import UUID

from celery import shared_task

from shared.queue import MESSAGE_RUN
from worker import attempts, process


@shared_task(name=MESSAGE_RUN)
def run_message(message_id: str) -> None:
    """Answer a message, on the loop of this process."""
    runtime = process.runtime()
    runtime.run(attempts.run_message(UUID(message_id), parts=runtime.parts))
