"""How much is tried: little and always the same in `make test`, more in `make faults`."""

from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import HealthCheck, settings

from tests.services import EmbeddedService
from tests.stateful.house import House
from tests.stub_process import StubOpenAI

_SLOW = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
# `make test`: the same examples each time; a file of known failures would make two runs differ
settings.register_profile("short", max_examples=5, derandomize=True, database=None, **_SLOW)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=150, **_SLOW)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    """Choose the short profile unless `--hypothesis-profile` names another."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("short")


@pytest.fixture(scope="session")
def stub() -> Iterator[StubOpenAI]:
    """Give a model's server that does what the prompt says."""
    with StubOpenAI(record=0) as stub:
        yield stub


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[House]:
    """Give an embedded service that histories may kill and start again."""
    house = House(tmp_path_factory.mktemp("house"), stub)
    house.service.start()
    yield house
    house.close()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[httpx2.Client]:
    """Give a client of an embedded service that takes whatever is sent to it."""
    settings = {"OPENAI_BASE_URL": stub.base_url, "VIBECODER_MODEL_RETRIES": "0"}
    with (
        EmbeddedService(tmp_path_factory.mktemp("live"), settings) as service,
        httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as client,
    ):
        yield client
