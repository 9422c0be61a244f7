"""The services that requests and histories of Hypothesis are tried on."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.services import EmbeddedService
from tests.stateful.application import AppUnderTest
from tests.stub_process import StubOpenAI


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[AppUnderTest]:
    """Give an embedded service that histories may kill and start again."""
    app = AppUnderTest(tmp_path_factory.mktemp("app"), stub)
    app.service.start()
    yield app
    app.close()


@pytest.fixture(scope="session")
def live(embedded: EmbeddedService) -> Iterator[httpx2.Client]:
    """Give a client of an embedded service that takes whatever is sent to it."""
    with httpx2.Client(base_url=embedded.url, timeout=60, trust_env=False) as client:
        yield client
