"""One event loop in a thread of its own, and everything that a worker process runs on it."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import uvloop
from celery import Celery

from shared.announcer import Announcer
from shared.background import cancel_all
from shared.channels import Channel
from shared.database import Database
from shared.logging import get_logger
from shared.metrics import watch_pool
from shared.prices import load_prices
from shared.queue import TaskSender
from shared.schema import require_schema
from shared.settings import Settings
from shared.store import claims
from shared.telemetry import open_telemetry
from shared.workflow.checker import CodeChecker
from worker import failpoints
from worker.context import WorkerContext
from worker.heartbeat import Heartbeat, this_process
from worker.listener import SignalListener
from worker.maintenance import Retention, Sweeper
from worker.memory.session import Memories
from worker.model.client import Models
from worker.recorder import Recorder
from worker.runs import RunKey, Runs
from worker.status import StatusServer
from worker.tracing import keep_traces_here
from worker.webhooks.dispatcher import WebhookDispatcher

T = TypeVar("T")
_RELEASE_LIMIT_S = 5.0
_log = get_logger(__name__)


class Runtime:
    """A worker's loop and parts: engines, clients and futures must not cross event loops."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self.settings = settings
        self._app = app
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._background: set[asyncio.Task[Any]] = set()
        self._status: StatusServer | None = None

    def start(self) -> None:
        """Start the loop, take a lease, beat and sweep.

        Raises:
            SettingsError: the file of prices is wrong, what they ask for is not installed, or the
                port for metrics is taken.
            SchemaOutdated: the database has an older schema.
        """
        self._prices = load_prices(self.settings.prices)
        require_schema(self.settings)
        self._telemetry = open_telemetry(self.settings, process="worker")
        keep_traces_here(export=self.settings.export_traces)
        failpoints.enable(self.settings.fault_point)
        self._thread.start()
        self.run(self._build())
        if self.settings.metrics_port is not None and not self.settings.embedded:
            self._status = StatusServer(
                self.settings.host,
                self.settings.metrics_port,
                healthy=lambda: self._heartbeat.holds_lease,
            )
        self._heartbeat.register()
        self._heartbeat.start()
        self.run(self._watch())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def release_all(self) -> None:
        """Stop every run, give its message back, begin no other; callable from any thread."""
        self._loop.call_soon_threadsafe(self.runs.close)

    def stop(self) -> None:
        """Release what still runs, give the lease back and close everything."""
        self.release_all()
        self.run(self._drained())
        self._heartbeat.retire()
        if self._status is not None:
            self._status.close()
        self.run(self._close())
        if self._telemetry:
            self._telemetry.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _build(self) -> None:
        settings = self.settings
        process = this_process(settings)
        self.runs = Runs()
        self._database = Database(settings, name="worker")
        pool = self._database.pool
        watch_pool(pool.in_use, most=pool.most, process="worker")
        self._channel = Channel(settings)
        self._sender = TaskSender(self._app)
        self._webhooks = WebhookDispatcher(self._database, private=settings.webhook_private)
        self._announcer = Announcer(self._channel, self._sender, on_outbox=self._webhooks.wake)
        self._memories = Memories(self._database, settings.sessions_dir)
        self._checker = CodeChecker()
        self._models = Models(settings, self._checker)
        self._recorder = Recorder(self._database, self._channel, self._telemetry)
        self._listener = SignalListener(
            self._database, self._channel, self.runs, self._recorder, worker_id=process.worker_id
        )
        self.context = WorkerContext(
            settings=settings,
            worker_id=process.worker_id,
            database=self._database,
            announcer=self._announcer,
            memories=self._memories,
            models=self._models,
            runs=self.runs,
            recorder=self._recorder,
            prices=self._prices,
            checker=self._checker,
        )
        self._heartbeat = Heartbeat(
            settings, process, self.runs, loop=asyncio.get_running_loop(), release=self._release
        )

    async def _watch(self) -> None:
        sweeper = Sweeper(
            self.settings, self._database, self._sender, self._announcer, self._memories
        )
        running = [
            sweeper.run(),
            self._recorder.run(),
            self._listener.listen(),
            self._webhooks.run(),
        ]
        if self.settings.retention_days is not None:
            running.append(
                Retention(
                    self._database,
                    days=self.settings.retention_days,
                    namespace=self.settings.namespace,
                ).run()
            )
        for work in running:
            self._in_background(work)

    def _release(self, orphans: Iterable[RunKey]) -> None:
        for orphan in orphans:
            self._in_background(self._release_orphan(orphan))

    async def _release_orphan(self, orphan: RunKey) -> None:
        _log.info("releasing a message that nobody here runs", message_id=str(orphan[0]))
        message_id, attempt = orphan
        ended = await self._database.write(
            claims.release_orphaned, message_id, attempt, limit=self.settings.project_concurrency
        )
        await self._announcer.announce(ended)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _drained(self) -> None:
        deadline = self._loop.time() + _RELEASE_LIMIT_S
        while self.runs.keys() and self._loop.time() < deadline:  # noqa: ASYNC110 -- once, at the end
            await asyncio.sleep(0.02)

    async def _close(self) -> None:
        await cancel_all(self._background)
        await self._sender.drain()
        self._sender.close()
        self._memories.close()
        await self._models.aclose()
        await self._checker.aclose()
        await self._channel.close()
        await self._database.close()
