"""A message as one trace in an OpenTelemetry collector, from an API and a worker process."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.errors import SettingsError
from shared.settings import Settings
from shared.telemetry import open_telemetry
from tests.api.calls import new_session, send
from tests.collector import Collector
from tests.distributed import Distributed
from tests.services import (
    EmbeddedService,
    wait_until,
)
from tests.stub_process import StubOpenAI

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@pytest.fixture
def collector(distributed: Distributed) -> Collector:
    return distributed.collector


@pytest.fixture
def client(distributed: Distributed) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=distributed.api.url, timeout=30, trust_env=False) as client:
        yield client


def path_of(span: dict[str, Any], spans: list[dict[str, Any]]) -> list[str]:
    """Name what a span is a part of, from the outermost on."""
    by_id = {each["id"]: each for each in spans}
    parent = by_id.get(span["parent"])
    return [*(path_of(parent, spans) if parent else [span["parent"]]), span["name"]]


def test_api_queue_and_run_are_one_trace(
    client: httpx2.Client, collector: Collector, stub: StubOpenAI
) -> None:
    session_id = new_session(client)
    prompt = f"What is {TRACE}?"
    assert send(client, session_id, prompt, headers=PARENT, model="stub").status_code == 200
    wait_until(lambda: len(collector.spans(TRACE)) >= 7, "all spans")
    spans = collector.spans(TRACE)
    [call] = [span for span in spans if "gen_ai.request.model" in span["attributes"]]
    assert path_of(call, spans) == [
        CALLER,
        "POST /sessions/{session_id}/messages",
        "message.queue",
        "message.run",
        "VibeCoder",
        "VibeCoder",
        "turn 1",
        call["name"],
    ]
    assert {span["service"] for span in spans} == {"vibecoder-api", "vibecoder-worker"}
    assert len({span["id"] for span in spans}) == len(spans) == 7
    # and the model's server goes on below its own call
    [sent] = stub.requests(prompt)
    assert sent["headers"]["traceparent"] == f"00-{TRACE}-{call['id']}-01"
    by_name = {span["name"]: span for span in spans}
    assert by_name["message.queue"]["ended"] == by_name["message.run"]["started"]


def test_what_the_prompt_and_the_tools_said_is_not_sent(
    client: httpx2.Client, collector: Collector
) -> None:
    trace = "12" * 16
    headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
    prompt = "a-secret [[status 500 times=9]]"
    send(client, new_session(client), prompt, headers=headers, model="stub")
    wait_until(lambda: len(collector.spans(trace)) >= 6, "all spans")
    assert "a-secret" not in str(collector.spans(trace))


def test_other_requests_are_spans_of_their_callers_trace(
    client: httpx2.Client, collector: Collector
) -> None:
    trace = "34" * 16
    sent = send(client, new_session(client)).json()
    headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
    client.get(f"/messages/{sent['message_id']}", headers=headers)
    wait_until(lambda: bool(collector.spans(trace)), "the span")
    [span] = collector.spans(trace)
    assert (span["parent"], span["name"]) == (CALLER, "GET /messages/{message_id}")


@pytest.mark.services
def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with (
        EmbeddedService(tmp_path, away) as service,
        httpx2.Client(base_url=service.url, timeout=30, trust_env=False) as client,
    ):
        session_id = new_session(client)
        assert [send(client, session_id).status_code for _ in range(3)] == [200] * 3
    lost = [line for line in service.output().splitlines() if "collector lost" in line]
    assert len(lost) == 2, "one line of the API, one of its worker"
    assert "Transient" not in service.output()


def test_without_the_extra_the_setting_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = importlib.import_module

    def without_extra(name: str) -> Any:
        if name == "shared.otlp":
            raise ModuleNotFoundError(name)
        return load(name)

    monkeypatch.setattr(importlib, "import_module", without_extra)
    settings = Settings(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    with pytest.raises(SettingsError, match=r"needs the extra `otel`: run `pip install"):
        open_telemetry(settings, process="api")
