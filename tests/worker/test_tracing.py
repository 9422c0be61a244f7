"""What is kept of runs: the Agents SDK's spans, as far as each attempt came."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from agents import Usage
from agents.testing import ScriptedModel
from agents.tracing import custom_span, function_span, get_trace_provider, trace
from agents.tracing.processors import default_processor
from structlog.testing import capture_logs

from shared.channels import Channel
from shared.settings import Settings
from shared.store import traces
from shared.store.traces import Spans
from shared.tables import Attempt, Message
from shared.telemetry import TelemetrySpan
from shared.workflow.checker import CodeChecker
from tests.shared.world import OWNER, World
from tests.stub_process import StubOpenAI
from tests.worker.test_attempts import DONE, Attempts, adding
from worker.attempt import run_message
from worker.model.client import Models
from worker.recorder import Recorder
from worker.tracing import RunSpans, keep_traces_here


@pytest.fixture
def attempts(world: World, tmp_path: Path) -> Attempts:
    return Attempts(world, tmp_path / "sessions")


async def traced(world: World, message: Message) -> Sequence[Attempt]:
    async with world.database.read() as db:
        return (await traces.of_message(db, message.id, owner=OWNER)).attempts


async def spans_of(world: World, message: Message) -> list[dict[str, Any]]:
    (attempt,) = await traced(world, message)
    return attempt.spans or []


async def lasting_run(world: World) -> RunSpans:
    """Begin an attempt whose run is under way."""
    claim = await world.claim((await world.accept(await world.session())).message)
    run = RunSpans(claim)
    run.collect()
    return run


def tree(spans: list[dict[str, Any]]) -> list[str]:
    """Write each span behind the names of those that it is a part of."""
    paths: dict[str | None, str] = {None: ""}
    for span in spans:
        paths[span["span_id"]] = f"{paths[span['parent_id']]}/{span['kind']}"
    return list(paths.values())[1:]


async def test_spans_are_nested_as_the_sdk_nests_them(attempts: Attempts) -> None:
    message = await attempts.run([[adding("triage")], DONE])
    assert tree(await spans_of(attempts.world, message)) == [
        "/task",
        "/task/agent",
        "/task/agent/turn",
        "/task/agent/turn/generation",
        "/task/agent/turn/function",
        "/task/agent/turn",
        "/task/agent/turn/generation",
    ]


async def test_spans_tell_times_model_tokens_arguments_and_answers(attempts: Attempts) -> None:
    message = await attempts.run([[adding("triage")], DONE])
    (attempt,) = await traced(attempts.world, message)
    spans = attempt.spans or []
    [call, _] = [span for span in spans if span["kind"] == "generation"]
    [tool] = [span for span in spans if span["kind"] == "function"]
    assert call["model"] == "offline"
    assert call["usage"].keys() >= {"input_tokens", "output_tokens", "total_tokens"}
    assert tool["name"] == "apply_patch"
    assert "triage" in json.loads(tool["input"])["patch"]
    assert tool["output"].startswith("The patch is applied.")
    assert attempt.ended_at
    for span in spans:  # a part of a second off: the worker's clock is put to the database's once
        assert attempt.started_at - 0.1 <= span["started_at"] <= span["ended_at"]
        assert span["ended_at"] <= attempt.ended_at + 0.1


class Collector:
    """A collector in this process."""

    def __init__(self) -> None:
        self.spans: list[TelemetrySpan] = []

    def export(self, span: TelemetrySpan) -> None:
        self.spans.append(span)

    def close(self) -> None:
        pass


async def test_a_collector_that_adds_up_tokens_counts_each_once(attempts: Attempts) -> None:
    collector = Collector()
    attempts.recorder = Recorder(attempts.database, Channel(attempts.world.settings), collector)
    used = Usage(requests=1, input_tokens=70, output_tokens=30, total_tokens=100)
    attempts.model = ScriptedModel([[adding("triage")], DONE], default_usage=used)
    accepted = (await attempts.world.accept(await attempts.world.session())).message
    await run_message(accepted.id, context=await attempts.context())
    message = await attempts.world.message(accepted.id)
    assert message.usage
    for name in ("input_tokens", "output_tokens"):
        counts = [span.attributes.get(f"gen_ai.usage.{name}", 0) for span in collector.spans]
        assert sum(int(count) for count in counts) == message.usage[name] > 0


async def test_an_attempt_is_forgotten_even_if_closing_it_breaks(attempts: Attempts) -> None:
    class Broken(Collector):
        def export(self, span: TelemetrySpan) -> None:
            raise RuntimeError(span.name)

    attempts.recorder = Recorder(attempts.database, Channel(attempts.world.settings), Broken())
    with pytest.raises(RuntimeError):
        await attempts.run([DONE])
    assert attempts.runs.keys() == frozenset(), "or a worker that stops waits for it"


async def test_a_failed_run_keeps_its_spans_and_the_kind_of_error(attempts: Attempts) -> None:
    with capture_logs():  # to write the traceback for a person takes seconds
        message = await attempts.run([[adding("triage")], RuntimeError("sk-secret")])
    spans = await spans_of(attempts.world, message)
    assert message.status == "failed"
    assert [span.get("error") for span in spans if span["kind"] == "generation"] == [
        None,
        "RuntimeError",
    ]
    assert "sk-secret" not in json.dumps(spans)


async def test_a_cancelled_run_keeps_its_spans_as_far_as_it_came(attempts: Attempts) -> None:
    turn = 0

    async def cancel_in_second_turn() -> None:
        nonlocal turn
        turn += 1
        if turn == 2:
            ((message_id, _),) = attempts.runs.keys()
            await attempts.world.cancel(message_id)

    script = [[adding("triage")], DONE]
    message = await attempts.run(script, meanwhile=cancel_in_second_turn)
    assert message.status == "cancelled"
    kinds = [span["kind"] for span in await spans_of(attempts.world, message)]
    assert kinds.count("function") == 1
    assert kinds.count("generation") == 2


async def test_messages_with_the_same_trace_id_keep_their_own_spans(attempts: Attempts) -> None:
    first = await attempts.run([[adding("triage")], DONE])
    second = await attempts.run([DONE])
    assert first.trace_id == second.trace_id
    assert len(await spans_of(attempts.world, first)) == 7
    assert len(await spans_of(attempts.world, second)) == 4


async def test_a_run_that_lasts_is_stored_while_it_runs(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recorder._EVERY_S", 0.05)
    writing = asyncio.create_task(attempts.recorder.run())
    found: list[dict[str, Any]] = []

    async def look() -> None:
        ((message_id, _),) = attempts.runs.keys()
        message = await attempts.world.message(message_id)
        async with asyncio.timeout(10):
            while len(found) < 4:
                await asyncio.sleep(0.02)
                found[:] = await spans_of(attempts.world, message)

    message = await attempts.run([DONE], meanwhile=look)
    writing.cancel()
    assert [span["kind"] for span in found] == ["task", "agent", "turn", "generation"]
    assert [span["ended_at"] for span in found] == [None] * 4
    assert all(span["ended_at"] for span in await spans_of(attempts.world, message))


async def test_what_an_end_has_stored_is_not_overwritten_by_what_came_before(
    attempts: Attempts,
) -> None:
    message = await attempts.run([DONE])
    late = Spans(message.id, message.attempt, [])
    async with attempts.world.database.begin() as db:
        await traces.keep(db, [late])
    assert len(await spans_of(attempts.world, message)) == 4


async def test_a_database_that_is_away_delays_spans(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recorder._EVERY_S", 0.02)
    keep, failures = traces.keep, [OSError("away")]

    async def break_it(*args: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()
        await keep(*args, **kwargs)

    monkeypatch.setattr(traces, "keep", break_it)
    world = attempts.world
    message = (await world.accept(await world.session())).message
    run = attempts.recorder.begin(await world.claim(message)).spans
    run.collect()
    writing = asyncio.create_task(attempts.recorder.run())
    with trace("test"), custom_span("step"):
        async with asyncio.timeout(10):
            while not (spans := await spans_of(world, message)):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.02)
    writing.cancel()
    assert [span["name"] for span in spans] == ["step"]


async def test_long_texts_are_cut_and_say_so(world: World) -> None:
    run = await lasting_run(world)
    with trace("test"), function_span("tool", input="x" * 4001, output="y" * 4000):
        pass
    (span,) = run.all()
    assert span["input"] == "x" * 4000 + "… (1 more characters)"
    assert span["output"] == "y" * 4000


async def test_all_texts_of_an_attempt_together_are_bounded(world: World) -> None:
    run = await lasting_run(world)
    with trace("test"):
        for _ in range(100):
            with function_span("tool", input="x" * 5000):
                pass
    assert len(json.dumps(run.all())) < 300_000
    assert run.all()[-1]["input"] == "x" * 200 + "… (4800 more characters)"


async def test_what_is_no_text_to_a_database_or_a_client_is_replaced(world: World) -> None:
    run = await lasting_run(world)
    with trace("test"), function_span("x" * 300, input="NUL \x00, half \ud83d"):
        pass
    (span,) = run.all()
    assert span["input"] == "NUL \ufffd, half \ufffd"
    assert span["name"] == "x" * 200 + "… (100 more characters)"


async def test_too_many_spans_are_left_out_and_counted(world: World) -> None:
    run = await lasting_run(world)
    with trace("test"):
        for _ in range(503):
            with custom_span("step"):
                pass
    spans = run.all()
    assert len(spans) == 500
    assert spans[0]["left_out"] == 3


async def test_a_tools_error_is_told_with_its_details(world: World) -> None:
    run = await lasting_run(world)
    with trace("test"), function_span("tool") as span:
        span.set_error({"message": "Error running tool", "data": {"error": "boom"}})
    assert run.all()[0]["error"] == "Error running tool: boom"


async def test_the_models_server_gets_the_trace_and_the_calls_span(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StubOpenAI() as stub:
        settings = Settings(OPENAI_BASE_URL=stub.base_url, model="stub")
        models = Models(settings, CodeChecker())
        monkeypatch.setattr(attempts, "get", lambda _, owner: models.get("stub", owner=owner))
        message = await attempts.run([])
        await models.aclose()
        [call] = stub.requests()
    [span] = [s for s in await spans_of(attempts.world, message) if s["kind"] == "generation"]
    trace_id, span_id = message.trace_id.removeprefix("trace_"), span["span_id"][5:21]
    assert call["headers"]["traceparent"] == f"00-{trace_id}-{span_id}-01"
    assert message.status == "completed"
    assert span["usage"]["input_tokens"] > 0


async def test_a_model_that_takes_too_long_is_told_as_that(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts.world.settings = attempts.world.settings.model_copy(update={"model_timeout_s": 0.05})
    message = await attempts.run([DONE], meanwhile=lambda: asyncio.sleep(5))
    [call] = [s for s in await spans_of(attempts.world, message) if s["kind"] == "generation"]
    assert call["error"] == "ModelTimeoutError"


@pytest.mark.parametrize("export", [False, True])
def test_the_sdk_sends_traces_only_if_it_is_told_to(export: bool) -> None:
    keep_traces_here(export=export)
    provider: Any = get_trace_provider()
    assert (default_processor() in provider._multi_processor._processors) is export


def test_spans_of_nobodys_run_are_not_kept(world: World) -> None:
    with trace("test"), custom_span("step"):
        pass  # outside of any attempt: nothing to hand it to, and nothing fails
