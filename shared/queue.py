"""The Celery application and the one task that goes through it: run a message.

A task says that a message may be the next of its session. It may be lost, doubled or late: the
claim in the database decides. So the policy is: send fast, never keep a client or a worker waiting
for the broker, acknowledge early, store no results.
"""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.entity import Queue

from shared.logging import context_about, get_logger
from shared.metrics import TASKS
from shared.settings import Settings

MESSAGE_RUN = "message.run"
_SEND_LIMIT_S = 1.5
_LOST_FOR_S = 10.0
_EVERY_SECOND = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
_log = get_logger(__name__)


class _Connection(Connection):
    """A connection that is tried every second while the broker is away.

    Celery itself would wait longer each time, up to 30 s, and every message with it.
    """

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        return super().ensure_connection(*args, **options | _EVERY_SECOND)  # type: ignore[no-untyped-call]


class _Amqp(AMQP):  # type: ignore[misc]
    Connection = _Connection


def make_celery(settings: Settings) -> Celery:
    """Make the Celery app of a process from its settings; nothing is connected yet."""
    broker = settings.redis_url or "memory://localhost/"
    app = Celery(settings.namespace, broker=broker, amqp=_Amqp)
    # kombu's memory queues are global to a process: the namespace keeps services apart
    name = f"{settings.namespace}.messages"
    app.conf.update(
        # the broker keeps no record of what it handed out; see also `Request` in worker/tasks.py
        task_queues=[Queue(name, no_ack=True)],  # type: ignore[no-untyped-call]
        task_default_queue=name,
        task_serializer="json",
        accept_content=["json"],
        # the result of a task is the message's row
        task_ignore_result=True,
        # acknowledged late, a Redis restart crashes the worker, and a lost worker costs 90 s
        task_acks_late=False,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
        worker_pool="threads",
        worker_concurrency=settings.worker_concurrency,
        # a worker takes a task only when it has a free slot
        worker_disable_prefetch=not settings.embedded,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # it is about tasks acknowledged late; without it Celery warns whenever Redis is lost
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(settings),
        imports=["worker.tasks"],
    )
    return app


def _transport_options(settings: Settings) -> dict[str, object]:
    if settings.embedded:
        return {"polling_interval": 0.01}
    return {
        "socket_timeout": 5,
        "socket_connect_timeout": 1,
        "socket_keepalive": True,
        **_EVERY_SECOND,
        "global_keyprefix": f"{settings.namespace}:",
    }


def send_task(app: Celery, message_id: UUID) -> None:
    """Send a task now, in this thread; raise what the broker's client raises."""
    # a signature, not send_task: that one ignores eager mode
    task_id = str(message_id)
    app.signature(MESSAGE_RUN, args=(task_id,)).apply_async(task_id=task_id)


class TaskSender:
    """Send tasks from one event loop without ever blocking it."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="send-task")
        self._under_way: set[asyncio.Future[bool]] = set()
        self._failed_at = -math.inf

    def enqueue_message(self, message_id: UUID) -> "asyncio.Future[bool]":
        """Schedule a task; the future tells whether the broker took it in time.

        No caller has to await it: the sweep sends lost tasks again.
        """
        sending = asyncio.get_running_loop().create_task(
            self._send(message_id), context=context_about(message_id)
        )
        self._under_way.add(sending)
        sending.add_done_callback(self._under_way.discard)
        return sending

    async def _send(self, message_id: UUID) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_SEND_LIMIT_S):
                await loop.run_in_executor(self._threads, send_task, self._app, message_id)
        except Exception as error:  # noqa: BLE001 -- whatever the broker's client raises
            _log.info("task not sent", message_id=str(message_id), error=repr(error))
            TASKS.labels("failed").inc()
            self._failed_at = time.monotonic()
            return False
        TASKS.labels("sent").inc()
        self._failed_at = -math.inf
        return True

    @property
    def broker_lost(self) -> bool:
        """Tell whether the newest task could not be sent, not long ago."""
        return time.monotonic() - self._failed_at < _LOST_FOR_S

    async def drain(self) -> None:
        """Wait for the tasks that are under way; each takes a second or two at the most."""
        await asyncio.gather(*self._under_way)

    async def length(self) -> int:
        """Count the tasks that wait in the broker."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._length)

    def _length(self) -> int:
        # one of the senders': to make a connection costs twenty times the question
        with self._app.pool.acquire(block=True) as connection:
            queue = connection.default_channel.queue_declare(self._app.conf.task_default_queue)
            return int(queue.message_count)

    def close(self) -> None:
        """Send nothing more; the sweep enqueues the messages whose tasks were not sent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
