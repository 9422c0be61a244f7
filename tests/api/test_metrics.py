"""What an API process counts and reads: /metrics, /ready and the request ids of callers."""

import math
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from starlette.testclient import TestClient
from structlog.contextvars import get_contextvars

from api.app import create_app
from shared.schema import migrate
from shared.settings import Settings
from tests.api.calls import ASYNC, new_session, send
from tests.scrape import scrape
from tests.services import PostgresServer, RedisServer, wait_until


def test_a_message_is_counted_from_its_acceptance_to_its_end(client: TestClient) -> None:
    session_id = new_session(client)
    before = scrape(client)
    key = {"Idempotency-Key": "once"}
    assert send(client, session_id, headers=key).status_code == 200
    assert send(client, session_id, headers=key).status_code == 200

    def more(name: str, **labels: str) -> float:
        return scrape(client).get(name, **labels) - before.get(name, **labels)

    # the answer does not wait until its hint is counted
    wait_until(lambda: more("vibecoder_hints_total", outcome="sent") == 1, "the hint")
    wait_until(lambda: more("vibecoder_attempt_seconds_count") == 1, "the attempt's end")
    route = "/sessions/{session_id}/messages"
    assert more("vibecoder_http_requests_total", method="POST", route=route, status="200") == 2
    assert more("vibecoder_messages_accepted_total") == 1
    assert more("vibecoder_messages_replayed_total") == 1
    assert more("vibecoder_messages_ended_total", status="completed", code="") == 1
    assert more("vibecoder_claim_delay_seconds_count") == 1
    assert more("vibecoder_model_call_seconds_count", model="offline") == 2
    assert more("vibecoder_model_tokens_total", model="offline", kind="input") > 0
    assert more("vibecoder_attempts_lost_total") == 0
    assert scrape(client).get("vibecoder_attempts_running") == 0


def test_a_client_that_waited_is_answered_soon_after_the_end(live: httpx2.Client) -> None:
    before = scrape(live)
    assert send(live, new_session(live), "[[delay 0.2]]").status_code == 200
    after = scrape(live)
    name = "vibecoder_reply_delay_seconds"
    assert after.get(f"{name}_count") - before.get(f"{name}_count") == 1
    assert 0 < after.get(f"{name}_sum") - before.get(f"{name}_sum") < 5
    assert after.get("process_open_fds") > 0


def test_a_call_that_fails_is_an_error_of_the_model_and_one_that_we_break_off_is_none(
    live: httpx2.Client, impatient: TestClient
) -> None:
    def errors(client: httpx2.Client, error: str) -> float:
        return scrape(client).get("vibecoder_model_errors_total", model="gpt-5.1", error=error)

    assert send(live, new_session(live), "[[status 500]]").status_code == 502
    assert send(impatient, new_session(impatient), "[[hang]]").status_code == 504
    assert errors(live, "500 InternalServerError") >= 1
    assert errors(impatient, "ModelTimeoutError") >= 1
    assert errors(live, "CancelledError") == errors(impatient, "CancelledError") == 0


def test_what_waits_is_told_with_its_age(idle: TestClient) -> None:
    session_id = new_session(idle)
    for _ in range(2):
        send(idle, session_id, headers=ASYNC)
    send(idle, new_session(idle), headers=ASYNC)
    found = scrape(idle)
    assert found.get("vibecoder_queue_messages", status="queued") == 3
    assert found.get("vibecoder_queue_messages", status="in_progress") == 0
    assert found.get("vibecoder_queue_heads") == 2
    assert 0 < found.get("vibecoder_queue_oldest_seconds") < 60
    assert found.get("vibecoder_workers") == found.get("vibecoder_worker_slots") == 0
    send(idle, session_id, headers=ASYNC)
    assert scrape(idle).get("vibecoder_queue_messages", status="queued") == 3, "once a second"


@pytest.mark.services
def test_without_its_database_the_metrics_say_so_and_guess_nothing(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with PostgresServer(tmp_path) as server:
        settings = Settings(
            database_url=server.create_database(),
            redis_url=redis_server.url,
            namespace=f"test-{uuid4()}",
        )
        migrate(settings)
        with TestClient(create_app(settings)) as client:
            assert scrape(client).get("vibecoder_up", part="database") == 1
            server.terminate()
            wait_until(
                lambda: scrape(client).get("vibecoder_up", part="database") == 0,
                "the metrics to notice",
                every=0.2,
            )
            found = scrape(client)
            assert found.get("vibecoder_up", part="broker") == 1
            assert math.isnan(found.get("vibecoder_queue_messages", status="queued"))
            assert math.isnan(found.get("vibecoder_workers"))


def test_readiness_names_each_part(idle: TestClient) -> None:
    answer = idle.get("/ready")
    assert answer.status_code == 503
    told = answer.json()
    assert told["status"] == "not_ready"
    assert [told[part] for part in ("database", "schema", "broker", "workers")] == [
        *(True, True, True),
        0,
    ]


def test_a_callers_request_id_is_kept(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[dict[str, object]] = []
    monkeypatch.setattr("api.middleware.count_request", lambda *_: bound.append(get_contextvars()))
    for path in ("/health", "/nothing"):
        answer = client.get(path, headers={"X-Request-Id": "edge-42/a"})
        assert answer.headers["X-Request-Id"] == bound.pop()["request_id"] == "edge-42/a"
        assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"]


@pytest.mark.parametrize("request_id", ["", "two words", "x" * 129, "bell\x07", "\xe9"])
def test_a_request_id_that_a_log_or_a_header_should_not_hold_is_not_kept(
    client: TestClient, request_id: str
) -> None:
    answer = client.get("/health", headers={b"X-Request-Id": request_id.encode("latin-1")})
    assert answer.status_code == 200
    assert "X-Request-Id" not in answer.headers
