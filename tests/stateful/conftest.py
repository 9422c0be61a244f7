"""The services that requests and histories of Hypothesis are tried on."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.services import EmbeddedService
from tests.stateful.house import House
from tests.stub_process import StubOpenAI


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[House]:
    """Give an embedded service that histories may kill and start again."""
    house = House(tmp_path_factory.mktemp("house"), stub)
    house.service.start()
    yield house
    house.close()


@pytest.fixture(scope="session")
def live(embedded: EmbeddedService) -> Iterator[httpx2.Client]:
    """Give a client of an embedded service that takes whatever is sent to it."""
    with httpx2.Client(base_url=embedded.url, timeout=60, trust_env=False) as client:
        yield client
