"""The service in the forms that tests of the API need.

Every answer that one of them gives in any test is held against the OpenAPI document.
"""

from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.api.document import check_answers
from tests.eager import eager_service, idle_service
from tests.services import EmbeddedService
from tests.stub_process import StubOpenAI


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Give a service that answers each POST at once, with the offline model."""
    with eager_service(tmp_path_factory.mktemp("eager")) as client:
        yield check_answers(client)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Give a service without a worker: what is sent stays queued."""
    with idle_service(tmp_path_factory.mktemp("idle")) as client:
        yield check_answers(client)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI) -> Iterator[TestClient]:
    """Give a service that answers each POST at once and waits for its model no longer than that."""
    settings = {"OPENAI_BASE_URL": stub.base_url, "model_retries": 0, "model_timeout_s": 0.2}
    with eager_service(tmp_path_factory.mktemp("impatient"), **settings) as client:
        yield check_answers(client)


@pytest.fixture(scope="session")
def live(embedded: EmbeddedService) -> Iterator[httpx2.Client]:
    """Give a client of a real service process whose model is the stub."""
    with httpx2.Client(base_url=embedded.url, timeout=30, trust_env=False) as client:
        yield check_answers(client)
