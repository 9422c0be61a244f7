"""Chromium, and the services whose console it opens.

The browser lasts a file and no longer: while it runs its event loop does, and other files' tests
have loops of their own.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.person import Person, Room
from tests.services import ApiProcess, EmbeddedService, RedisServer, WorkerProcess, migrate
from tests.stub_process import StubOpenAI

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a Chromium."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("the console's tests want a browser: apt install chromium")
    with sync_playwright() as playwright:
        # in a container there is neither a sandbox nor much shared memory
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """Give the service as `make run` starts it: the offline model answers."""
    with EmbeddedService(tmp_path_factory.mktemp("console")) as service:
        yield service


@dataclass(frozen=True)
class Distributed:
    """The service as processes that a test may kill; its model is the stub."""

    api: ApiProcess
    worker: WorkerProcess
    database: str


@pytest.fixture(scope="session")
def distributed(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Distributed]:
    """Give an API process and a worker."""
    home = tmp_path_factory.mktemp("console-distributed")
    database = str(home / "service.db")
    with StubOpenAI() as stub:
        settings = {
            "VIBECODER_DATA_DIR": str(home),
            "VIBECODER_DATABASE_URL": f"sqlite:///{database}",
            "VIBECODER_REDIS_URL": redis_server.url,
            "VIBECODER_NAMESPACE": f"console-{home.name}",
            "VIBECODER_MODEL": "stub",
            "OPENAI_BASE_URL": stub.base_url,
            "VIBECODER_MODEL_RETRIES": "0",
            "VIBECODER_LEASE_S": "2",
            "VIBECODER_HEARTBEAT_S": "0.5",
            "VIBECODER_SWEEP_S": "0.2",
            "VIBECODER_DRAIN_S": "0",
        }
        migrate(settings["VIBECODER_DATABASE_URL"])
        with (
            ApiProcess(home, settings, name="console-api") as api,
            WorkerProcess(home, settings, name="console-worker") as worker,
        ):
            yield Distributed(api, worker, database)


@pytest.fixture
def room(browser: Browser) -> Iterator[Room]:
    """Give a place for people; nothing on their pages may fail, or ask another host."""
    with Room(browser) as room:
        yield room


@pytest.fixture
def person(room: Room, embedded: EmbeddedService) -> Person:
    """Give someone who has just opened the console of the embedded service."""
    return room.enter(embedded.url)


@pytest.fixture
def visitor(room: Room, distributed: Distributed) -> Person:
    """Give someone in a new project of the distributed service."""
    visitor = room.enter(distributed.api.url)
    visitor.begin_project()
    return visitor
