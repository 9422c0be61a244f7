"""A worker's own port: metrics, and whether it holds its lease."""

from collections.abc import Iterator

import httpx2
import pytest

from shared.errors import SettingsError
from tests.scrape import scrape
from worker.status import StatusServer


@pytest.fixture
def lease() -> list[bool]:
    return [True]


@pytest.fixture
def status(lease: list[bool]) -> Iterator[StatusServer]:
    server = StatusServer("127.0.0.1", 0, healthy=lambda: lease[0])
    yield server
    server.close()


@pytest.fixture
def client(status: StatusServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"http://127.0.0.1:{status.port}", trust_env=False) as client:
        yield client


def test_a_worker_tells_its_metrics(client: httpx2.Client) -> None:
    assert {"vibecoder_attempt_seconds_count", "vibecoder_sweep_hints_total"} <= scrape(
        client
    ).names
    assert client.get("/").status_code == 404


def test_a_worker_is_healthy_while_it_holds_its_lease(
    client: httpx2.Client, lease: list[bool]
) -> None:
    assert client.get("/health").status_code == 200
    lease[0] = False
    assert client.get("/health").status_code == 503


def test_a_taken_port_is_said_in_a_sentence(status: StatusServer) -> None:
    with pytest.raises(SettingsError, match=f"VIBECODER_METRICS_PORT={status.port} cannot be"):
        StatusServer("127.0.0.1", status.port, healthy=lambda: True)
