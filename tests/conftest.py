"""Fixtures that every test may use, and the drawers: which tests start servers.

A test that asks for a server's fixture is marked `services`; one that starts a server or a process
of the service itself says so with the same mark, without which `Service.launch` fails.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.planted import leaks, leaks_of
from tests.services import PostgresServer, RedisServer, Service, migrate


def pytest_configure() -> None:
    """Forget the host's settings before anything of the service is imported."""
    for name in [
        name for name in os.environ if name.startswith(("VIBECODER_", "OPENAI_", "OTEL_"))
    ]:
        del os.environ[name]


_SERVERS = {"redis_server", "postgres_server", "live"}
_WITH_SERVICES_ONLY = {"stateful", "faults"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not read folders of which the fast drawer takes no test: that costs seconds."""
    fast = "not services" in config.option.markexpr
    return True if fast and collection_path.name in _WITH_SERVICES_ONLY else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that asks for a server."""
    for item in items:
        if _SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.services)


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
    migrate(postgres_server.create_database("migrated"))
    return partial(postgres_server.create_database, template="migrated")


@pytest.fixture(scope="session")
def _emptied_database(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer, _emptied_database: str) -> str:
    """Give the URL of a database with the newest schema and no rows; the tests use it in turn."""
    postgres_server.empty(_emptied_database)
    return _emptied_database
