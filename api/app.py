"""The application: the parts of an API process, its start and its end."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import FrameType
from typing import Any
from uuid import UUID

from celery import Celery
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from api import openapi, pages, problems
from api.accept_limiter import AcceptLimiter
from api.auth import Access, Authenticator
from api.body_limit import BodyLimit
from api.dependencies import Services
from api.embedded import embedded_worker
from api.metrics import Scrape
from api.middleware import RequestContext, RequestSpans
from api.rate_limit import RateLimit
from api.routes import (
    checks,
    events,
    health,
    messages,
    operations,
    projects,
    sessions,
    traces,
    usage,
    webhooks,
)
from api.routes import workflow as workflows
from api.streams import EventReader, Subscribers
from api.waiting import EndWaiters
from shared.announcer import Announcer
from shared.background import every, running
from shared.channels import Channel
from shared.database import Database
from shared.errors import SettingsError
from shared.logging import configure_logging
from shared.metrics import watch_pool
from shared.overdue import end_overdue
from shared.prices import load_prices
from shared.process import allow_open_files, keep_files_private
from shared.queue import TaskSender, make_celery
from shared.schema import require_schema
from shared.settings import Settings, load_settings
from shared.store import events as event_store
from shared.store import messages as message_store
from shared.store.accept import UnfinishedCount
from shared.telemetry import open_telemetry
from shared.version import VERSION
from shared.workflow.checker import CodeChecker

_LOOK_S = 5.0
_MOST_CHECKS_WAITING = 200
"""Of one owner: each holds a module in memory."""
_DESCRIPTION = """
Build multi-agent workflows by talking to VibeCoder, an agent on the OpenAI Agents SDK.

**A message is a transaction**: accepted once, answered once, in order, through any crash.
`POST /projects`, `POST /projects/{id}/sessions`, `POST /sessions/{id}/messages`: that is all.
"""


class Application(FastAPI):
    """FastAPI whose failed start prints one sentence instead of a traceback."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_sentence(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                last_line = message["message"].strip().rsplit("\n", 1)[-1]
                message["message"] = last_line.split(": ", 1)[-1]  # without the class
            await send(message)

        lifespan = scope["type"] == "lifespan"
        await super().__call__(scope, receive, send_sentence if lifespan else send)


def create_app(settings: Settings, *, celery: Celery | None = None) -> FastAPI:
    """Wire an API process; nothing is opened before its lifespan begins.

    With a Celery app, the caller provides its worker and the schema: the process sends tasks
    through that app and embeds nothing.
    """
    app = Application(
        title="VibeCoder sessions",
        version=VERSION,
        description=_DESCRIPTION,
        docs_url=None,  # api/pages.py: without another host
        redoc_url=None,
        lifespan=_lifespan,
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,  # a redirected POST loses its body in most clients
    )
    app.state.settings = settings
    app.state.celery = celery
    _add_middleware(app, settings)
    problems.install(app)
    for module in (
        *(projects, workflows, sessions, checks, messages, events),
        *(traces, usage, webhooks, operations, health),
    ):
        app.include_router(module.router)
    pages.install(app)
    openapi.install(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add the middleware of all routes; the one that is added last runs first."""
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    app.add_middleware(Access)
    if settings.otlp_endpoint:
        app.add_middleware(RequestSpans)
    app.add_middleware(RequestContext)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=openapi.REQUEST_HEADERS,
            expose_headers=[*openapi.ANSWER_HEADERS, "X-Request-Id"],
            max_age=600,
        )


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    configure_logging(settings)
    allow_open_files()
    keep_files_private(settings.data_dir)
    async with AsyncExitStack() as stack:
        if settings.embedded and app.state.celery is None:
            await stack.enter_async_context(embedded_worker(settings))
        else:
            require_schema(settings)
        if telemetry := open_telemetry(settings, process="api"):
            stack.push_async_callback(asyncio.to_thread, telemetry.close)
        app.state.telemetry = telemetry
        celery = app.state.celery or make_celery(settings)
        app.state.services = services = await _open(settings, celery, stack)
        _answer_before_draining(services.end_waiters)
        yield


async def _open(settings: Settings, celery: Celery, stack: AsyncExitStack) -> Services:
    prices = load_prices(settings.prices)
    database = Database(settings, name="api")
    stack.push_async_callback(database.close)
    watch_pool(database.pool.in_use, most=database.pool.most, process="api")
    channel = Channel(settings)
    stack.push_async_callback(channel.close)
    sender = TaskSender(celery)
    stack.callback(sender.close)
    announcer = Announcer(channel, sender)

    async def ended_among(ids: Sequence[UUID]) -> Sequence[UUID]:
        async with database.read() as db:
            return await message_store.ended_among(db, ids)

    async def event_counts(ids: Sequence[UUID]) -> Mapping[UUID, int]:
        async with database.read() as db:
            return await event_store.counts(db, ids)

    subscribers = Subscribers(EventReader(database).read, event_counts)
    end_waiters = EndWaiters(channel, ended_among, subscribers)
    end_waiters.start()
    stack.push_async_callback(end_waiters.close)
    # without any worker, messages still end
    overdue = partial(end_overdue, database, announcer, settings)
    look_s = min(_LOOK_S, settings.queue_timeout_s / 4)
    await stack.enter_async_context(running(every(look_s, overdue, "overdue messages")))
    # half of the connections stay free for other writes: cancels, sweeps, patches
    accept_limiter = AcceptLimiter(
        width=max(settings.database_pool // 2, 1), most_waiting=settings.service_queue_limit
    )
    rate_limit = RateLimit(settings, channel.redis)
    authenticator = Authenticator(settings, database, rate_limit)
    await authenticator.require_keys()
    scrape = Scrape(database, channel, end_waiters, subscribers)
    checker = CodeChecker(most_waiting=_MOST_CHECKS_WAITING)
    stack.push_async_callback(checker.aclose)
    return Services(
        settings=settings,
        database=database,
        channel=channel,
        announcer=announcer,
        end_waiters=end_waiters,
        subscribers=subscribers,
        accept_limiter=accept_limiter,
        prices=prices,
        authenticator=authenticator,
        scrape=scrape,
        checker=checker,
        unfinished=UnfinishedCount(),
    )


def _answer_before_draining(end_waiters: EndWaiters) -> None:
    """Answer all waits at SIGTERM and SIGINT: the server drains before the lifespan ends."""
    if threading.current_thread() is not threading.main_thread():
        return  # in tests: no signals here

    for number in (signal.SIGTERM, signal.SIGINT):
        previous: Any = signal.getsignal(number)

        def answer(number: int, frame: FrameType | None, previous: Any = previous) -> None:
            end_waiters.abort_from_signal()
            if callable(previous):
                previous(number, frame)

        signal.signal(number, answer)


try:
    app = create_app(load_settings())
except SettingsError as error:
    raise SystemExit(f"vibecoder: {error}") from None
