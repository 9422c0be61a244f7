"""Fixtures that every test may use, and the drawers: which tests start servers.

A test that asks for a server's fixture is marked `services`; one that starts a server or a process
of the service itself says so with the same mark, without which `Service.launch` fails.
"""

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.canaries import MODEL_KEY, leaks, leaks_of
from tests.distributed import Distributed, started
from tests.services import EmbeddedService, PostgresServer, RedisServer, Service, make_schema
from tests.stub_process import StubOpenAI

_SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
# the same examples each time; a file of known failures would make two runs differ
settings.register_profile("short", max_examples=25, derandomize=True, database=None, **_SLOW)  # type: ignore[arg-type]
# `make fuzz`
settings.register_profile("thorough", max_examples=750, **_SLOW)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    """Forget the host's settings; let Hypothesis try little unless a profile is named."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("short")
    Service.forked = True
    gc.disable()  # while the tests are imported; it is a quarter of that time
    for name in [
        name for name in os.environ if name.startswith(("VIBECODER_", "OPENAI_", "OTEL_"))
    ]:
        del os.environ[name]


_WITH_SERVICES_S = 180  # processes start slowly beside other work
_SHARED = ("distributed", "embedded")
_SERVERS = {"redis_server", "postgres_server", *_SHARED}
_WITH_SERVICES_ONLY = {"stateful", "faults"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not read folders of which the fast drawer takes no test: that costs seconds."""
    fast = "not services" in config.option.markexpr
    return True if fast and collection_path.name in _WITH_SERVICES_ONLY else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that asks for a server, and name those that one test process has to run.

    A file stays in one process, as many start something for all their tests; all tests of a shared
    service do, so that it is started once.
    """
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if _SERVERS & asked:
            item.add_marker(pytest.mark.services)
        if item.get_closest_marker("services") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_WITH_SERVICES_S))
        if not item.get_closest_marker("xdist_group"):
            group = next((name for name in _SHARED if name in asked), item.path.stem)
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish() -> None:
    """Leave what was imported out of the looks for cycles: a fifth of the time of all tests."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let only a test that is marked start a service."""
    Service.may_start = item.get_closest_marker("services") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """Show what the services wrote when a test fails."""
    report = yield
    if told := leaks(f"{report.caplog}\n{report.capstderr}"):
        report.outcome = "failed"
        report.longrepr = f"{report.longrepr or ''}\nSecrets in what was logged: {told}"
    if report.failed:
        for service in Service.started:
            report.sections.append((f"log of {service.name}", service.output()))
    if report.when == "teardown":
        Service.started[:] = [service for service in Service.started if service.running]
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_service_logs_a_secret() -> Iterator[None]:
    yield
    assert leaks_of(Service.logs) == []


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give the Redis that tests share; namespaces keep them apart."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Give the PostgreSQL that tests share."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def make_database(postgres_server: PostgresServer) -> Callable[[], str]:
    """Give a maker of databases with the newest schema, for processes that last; it gives URLs."""
    make_schema(postgres_server.create_database("migrated"))
    return partial(postgres_server.create_database, template="migrated")


@pytest.fixture(scope="session")
def _emptied_database(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer, _emptied_database: str) -> str:
    """Give the URL of a database with the newest schema and no rows; the tests use it in turn."""
    postgres_server.empty(_emptied_database)
    return _emptied_database


@pytest.fixture(scope="session")
def stub() -> Iterator[StubOpenAI]:
    """Give a model's server that does what the prompt says: `[[delay 2]]`, `[[status 500]]`."""
    with StubOpenAI() as stub:
        yield stub


@pytest.fixture(scope="session")
def embedded(
    tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI
) -> Iterator[EmbeddedService]:
    """Give the service in one process, its model the stub, to all tests that leave it running."""
    settings = {
        "OPENAI_BASE_URL": stub.base_url,
        "OPENAI_API_KEY": MODEL_KEY,
        "VIBECODER_MODEL_RETRIES": "0",
        "VIBECODER_LOG_LEVEL": "debug",
    }
    with EmbeddedService(tmp_path_factory.mktemp("embedded"), settings) as service:
        yield service


@pytest.fixture(scope="session")
def distributed(
    tmp_path_factory: pytest.TempPathFactory,
    make_database: Callable[[], str],
    redis_server: RedisServer,
    stub: StubOpenAI,
) -> Iterator[Distributed]:
    """Give the service as three processes to all tests that leave them running."""
    directory = tmp_path_factory.mktemp("distributed")
    with started(directory, make_database(), redis_server.url, stub) as distributed:
        yield distributed
