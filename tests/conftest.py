"""Fixtures that every test may use: real servers, and an environment without foreign settings."""

import os
from collections.abc import Iterator

import pytest

from tests.planted import leaks, leaks_of
from tests.services import PostgresServer, RedisServer, Service, migrate


def pytest_configure() -> None:
    """Forget the host's settings before anything of the service is imported."""
    for name in [
        name for name in os.environ if name.startswith(("VIBECODER_", "OPENAI_", "OTEL_"))
    ]:
        del os.environ[name]


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
    """Give the PostgreSQL that tests share; each has its own database in it."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgresServer) -> str:
    migrate(postgres_server.create_database("migrated"))
    return "migrated"


@pytest.fixture
def postgres_database(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """Give the URL of a fresh database with the newest schema."""
    url = postgres_server.create_database(template=_postgres_template)
    yield url
    postgres_server.drop_database(url.rpartition("/")[2])
