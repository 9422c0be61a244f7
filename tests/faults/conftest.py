"""What every fault test has: real servers, two API processes, a stub model, and a time limit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.cluster import QUICK, Cluster
from tests.services import RedisServer
from tests.stub_process import StubOpenAI

_HERE = Path(__file__).parent
_LIMIT_S = 180


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark fault tests: all start services, and those that are not `short` run at night."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))
            item.add_marker(pytest.mark.services)
            if not item.get_closest_marker("short"):
                item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="module")
def shared_cluster(
    tmp_path_factory: pytest.TempPathFactory,
    make_database: Callable[[], str],
    redis_server: RedisServer,
    stub: StubOpenAI,
) -> Iterator[Cluster]:
    """Give two API processes on a database of the module's own."""
    cluster = Cluster(
        tmp_path_factory.mktemp("cluster"),
        make_database(),
        redis_server.url,
        stub,
        namespace=f"faults-{uuid4().hex[:8]}",
        extra=QUICK,
    )
    try:
        for api in (cluster.make_api(), cluster.make_api()):
            api.launch()
        for api in cluster.apis:
            api.wait_ready()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def make_cluster(tmp_path: Path, stub: StubOpenAI) -> Iterator[Callable[[str, str], Cluster]]:
    """Give a maker of clusters on servers of the test's own; no process is started yet."""
    made: list[Cluster] = []

    def make(database_url: str, redis_url: str) -> Cluster:
        namespace = f"faults-{uuid4().hex[:8]}"
        made.append(Cluster(tmp_path, database_url, redis_url, stub, namespace, extra=QUICK))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis that a test may stop."""
    with RedisServer(tmp_path, name="own-redis") as server:
        yield server


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """Give the module's API processes without any worker."""
    yield shared_cluster
    shared_cluster.kill_workers()
