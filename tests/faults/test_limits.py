"""More than the service can hold: refused clients know when to come back, and nothing breaks."""

import time
from collections.abc import Callable

import psycopg
import pytest

from tests.faults.backlog import count, fill, hints_sent
from tests.faults.bursts import Burst, memory_mb
from tests.faults.cluster import Cluster
from tests.faults.prompts import prompt
from tests.services import RedisServer, wait_until

Maker = Callable[[str, str], Cluster]
_BURST = 10_000
_HELD = 1000
_RACING = 5  # half of the process' connections: so many POSTs may count at the same moment
_GROWTH_MB = 600  # ten thousand open connections take most of it
_WIDE = {"VIBECODER_SESSION_QUEUE_LIMIT": "100000", "VIBECODER_PROJECT_QUEUE_LIMIT": "100000"}


@pytest.fixture
def fresh(postgres_database: str, own_redis: RedisServer, make_cluster: Maker) -> Cluster:
    """Give a cluster on servers of the test's own; no process is started yet."""
    return make_cluster(postgres_database, own_redis.url)


@pytest.mark.timeout(400)
def test_of_a_burst_of_ten_thousand_as_many_are_accepted_as_the_service_holds(
    fresh: Cluster, record_property: Callable[[str, object], None]
) -> None:
    api = fresh.api(VIBECODER_SERVICE_QUEUE_LIMIT=str(_HELD), **_WIDE)
    sessions = fill(fresh, projects=10, sessions=10, messages=0)
    posts = [
        (f"/sessions/{sessions[n % len(sessions)]}/messages", {"prompt": prompt()})
        for n in range(_BURST)
    ]
    Burst(api.url, posts[:50]).send()  # so that the process has its full size
    before = memory_mb(api.pid)
    began = time.monotonic()
    burst = Burst(api.url, posts[50:]).send()
    seconds = time.monotonic() - began
    figures = {
        "seconds": round(seconds, 1),
        "statuses": dict(burst.statuses),
        "accepted": count(fresh, "true"),
        "memory_mb": [round(before), round(memory_mb(api.pid, "VmHWM")), round(memory_mb(api.pid))],
        "retry_after": sorted({one.retry_after for one in burst.answers if one.status == 503}),
    }
    record_property("burst", figures)
    print("burst:", figures)
    assert burst.statuses.keys() == {202, 503}, [a for a in burst.answers if not a.status][:3]
    assert _HELD <= count(fresh, "true") < _HELD + _RACING
    assert burst.statuses[202] + 50 == count(fresh, "true")
    for one in burst.answers:
        if one.status == 503:
            assert one.body["code"] == "service_queue_full"
            assert 1 <= one.retry_after <= 60
    assert memory_mb(api.pid, "VmHWM") - before < _GROWTH_MB
    fresh.worker()
    wait_until(lambda: count(fresh, "status <> 'completed'") == 0, "all replies", timeout=120)
    fresh.check()


def test_retry_after_follows_what_ended_in_the_last_minute(fresh: Cluster) -> None:
    api = fresh.api(VIBECODER_SERVICE_QUEUE_LIMIT="300", **_WIDE)
    (session, *_) = fill(fresh, projects=1, sessions=2, messages=500)
    post = [(f"/sessions/{session}/messages", {"prompt": prompt()})]
    for ended, expected in ((100, 24), (300, 14), (600, 4)):  # a tenth of the queue, at that rate
        end_some(fresh, ended)
        (told,) = Burst(api.url, post).send().answers
        left = 1000 - ended
        assert (told.status, told.body["code"]) == (503, "service_queue_full")
        assert (
            told.retry_after == -(-left * 60 // (10 * ended))
            or abs(told.retry_after - expected) < 2
        )
        assert f"{told.retry_after} s" in told.body["detail"]


def end_some(cluster: Cluster, ended: int) -> None:
    """Let so many messages have ended just now, as if workers had done it."""
    with psycopg.connect(cluster.database_url) as db:
        db.execute(
            "UPDATE messages SET status = 'failed', ended_at = extract(epoch FROM now()) "
            "WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT %s)",
            [ended],
        )


@pytest.mark.timeout(900)
def test_a_backlog_of_ten_thousand_messages_takes_one_hint_each(
    fresh: Cluster, own_redis: RedisServer, record_property: Callable[[str, object], None]
) -> None:
    fill(fresh, projects=50, sessions=50, messages=4, model="offline")
    before = hints_sent(own_redis.url)
    began = time.monotonic()
    for worker in (fresh.make_worker(), fresh.make_worker()):
        worker.launch()
    wait_until(lambda: count(fresh, "ended_at IS NULL") == 0, "the end of all", timeout=800)
    seconds = time.monotonic() - began
    hints = hints_sent(own_redis.url) - before
    figures = {"hints": hints, "a_message": hints / 10_000, "seconds": round(seconds)}
    record_property("backlog", figures)
    print("backlog:", figures)
    assert hints <= 12_000
    assert count(fresh, "status = 'completed'") == 10_000
    assert count(fresh, "outcome <> 'completed'", table="attempts") == 0
    fresh.check()


def test_no_lease_is_lost_while_every_slot_is_busy(
    fresh: Cluster, own_redis: RedisServer, record_property: Callable[[str, object], None]
) -> None:
    fill(fresh, projects=20, sessions=30, messages=2, directives="[[delay 8]]")
    before = hints_sent(own_redis.url)
    for worker in (fresh.make_worker(), fresh.make_worker()):
        worker.settings |= {"VIBECODER_WORKER_CONCURRENCY": "150"}
        worker.launch()
    wait_until(lambda: count(fresh, "status = 'in_progress'") >= 300, "full slots", timeout=30)
    wait_until(lambda: count(fresh, "ended_at IS NULL") == 0, "the end of all", timeout=120)
    hints = hints_sent(own_redis.url) - before
    record_property("full_slots", {"hints": hints, "messages": 1200})
    print("full slots:", hints / 1200)
    assert count(fresh, "status = 'completed'") == 1200
    assert count(fresh, "outcome <> 'completed'", table="attempts") == 0
    assert hints <= 1.2 * 1200
    fresh.check()


def test_a_project_with_500_waiting_sessions_does_not_hold_up_another_one(
    fresh: Cluster, record_property: Callable[[str, object], None]
) -> None:
    shared = {"VIBECODER_PROJECT_CONCURRENCY": "10"}
    fresh.api(**shared)
    client = fresh.client()
    fill(fresh, projects=1, sessions=500, messages=1, directives="[[delay 0.5]]")
    fresh.worker(**shared, VIBECODER_WORKER_CONCURRENCY="12")
    wait_until(lambda: count(fresh, "ended_at IS NOT NULL") > 20, "the busy project", timeout=60)
    session = client.session()
    waits = [client.ask(session, prompt()).seconds for _ in range(5)]
    left = count(fresh, "ended_at IS NULL")
    record_property("fairness", {"waits_s": waits, "left_of_500": left})
    print("fairness:", waits, left)
    assert left > 100, "the busy project was done too soon to tell"
    assert max(waits) < 2
    assert count(fresh, "outcome <> 'completed'", table="attempts") == 0
