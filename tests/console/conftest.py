"""Chromium, and the service whose console it opens.

The browser lasts a file and no longer: while it runs its event loop does, and other files' tests
have loops of their own.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.person import Person, Room
from tests.services import ApiProcess, RedisServer, WorkerProcess, migrate
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


@dataclass(frozen=True)
class Running:
    """The service as processes that a test may kill."""

    api: ApiProcess
    worker: WorkerProcess
    stub: StubOpenAI
    database: str


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Running]:
    """Give an API process and a worker; a message may ask for the stub instead of `offline`."""
    home = tmp_path_factory.mktemp("console")
    database = str(home / "service.db")
    prices = home / "prices.json"
    price = {"input": "2", "cached_input": "1", "output": "8"}
    prices.write_text(json.dumps({"models": {"stub": price}}))
    with StubOpenAI() as stub:
        settings = {
            "VIBECODER_DATA_DIR": str(home),
            "VIBECODER_DATABASE_URL": f"sqlite:///{database}",
            "VIBECODER_REDIS_URL": redis_server.url,
            "VIBECODER_NAMESPACE": f"console-{home.parent.name}",
            "VIBECODER_MODEL": "offline",
            "VIBECODER_MODELS": "stub,unpriced",
            "VIBECODER_PRICES": str(prices),
            "OPENAI_BASE_URL": stub.base_url,
            "VIBECODER_MODEL_RETRIES": "0",
            "VIBECODER_LEASE_S": "2",
            "VIBECODER_HEARTBEAT_S": "0.5",
            "VIBECODER_SWEEP_S": "0.2",
            "VIBECODER_DRAIN_S": "0",
        }
        migrate(settings["VIBECODER_DATABASE_URL"])
        api = ApiProcess(home, settings, name="console-api")
        worker = WorkerProcess(home, settings, name="console-worker")
        api.launch()  # both at once: each takes seconds to import what it needs
        try:
            with worker:
                api.wait_ready()
                yield Running(api, worker, stub, database)
        finally:
            api.terminate()


@pytest.fixture
def room(browser: Browser) -> Iterator[Room]:
    """Give a place for people; nothing on their pages may fail, or ask another host."""
    with Room(browser) as room:
        yield room


@pytest.fixture
def person(room: Room, service: Running) -> Person:
    """Give someone who has just opened the console."""
    return room.enter(service.api.url)


@pytest.fixture
def visitor(person: Person) -> Person:
    """Give someone in a new project who talks to the stub: it does what the prompt says."""
    person.begin_project()
    person.choose("stub")
    return person
