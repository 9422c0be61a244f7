"""How the service does, as an operator reads it."""

import pytest
from starlette.testclient import TestClient

from api.dependencies import shares_operations
from api.routes.operations import _quantile
from shared.store.operations import Ended
from tests.api.calls import ASYNC, new_session, send


def test_what_was_answered_a_moment_ago_is_in_the_last_minute(client: TestClient) -> None:
    assert send(client, new_session(client)).status_code == 200
    now = client.get("/operations").json()
    assert now["scope"] == "service"
    assert [minute["minutes_ago"] for minute in now["minutes"]] == list(range(59, -1, -1))
    last = now["minutes"][-1]
    assert last["completed"] >= 1
    assert 0 < last["p50_s"] <= last["p95_s"] < 60
    assert (now["queue"]["queued"], now["queue"]["running"]) == (0, 0)


def test_what_waits_is_told_with_its_age_to_others_than_operators_their_part(
    idle: TestClient,
) -> None:
    async def no_operator() -> bool:
        return False

    send(idle, new_session(idle), headers=ASYNC)
    now = idle.get("/operations").json()
    assert now["queue"]["queued"] == 1
    assert 0 <= now["queue"]["oldest_s"] < 60
    assert now["workers"] == []
    idle.app.dependency_overrides[shares_operations] = no_operator  # type: ignore[attr-defined]
    now = idle.get("/operations").json()
    assert (now["scope"], now["queue"]["queued"], now["workers"]) == ("own", 1, [])


@pytest.mark.parametrize(
    ("part", "latency"), [(0.5, 3), (0.9, 7), (0.95, 30), (1, 30)], ids=["p50", "p90", "p95", "max"]
)
def test_a_quantile_is_the_class_that_so_many_are_not_above(part: float, latency: int) -> None:
    counted = [Ended(0, "completed", n, messages) for n, messages in ((30, 1), (3, 6), (7, 3))]
    assert _quantile(counted, part) == _quantile([Ended(0, "completed", latency, 1)], 1)
    assert _quantile([], part) is None


def test_readiness_names_the_models_that_a_message_may_ask_for(client: TestClient) -> None:
    ready = client.get("/ready").json()
    assert ready["models"] == [ready["model"]] == ["offline"]
