"""The path of a message in the README is the path of every message, on both databases."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.api.calls import new_project, new_session, send
from tests.services import (
    ROOT,
    ApiProcess,
    EmbeddedService,
    RedisServer,
    WorkerProcess,
    wait_until,
)
from tests.services.process import Service

pytestmark = pytest.mark.services

MODULE = re.compile(r"(?:api|worker|shared)/[\w/]+\.py")
INFRASTRUCTURE = {
    "every request passes them, whatever it asks for": """
        api/accept_limiter.py api/app.py api/auth.py api/body_limit.py api/dependencies.py
        api/metrics.py api/middleware.py api/protocol.py api/rate_limit.py
    """,
    "the form of the request and of the answer": """
        api/drafts.py api/routes/messages.py api/schemas/common.py
        api/schemas/messages.py
    """,
    "each process has them": """
        shared/background.py shared/channels.py shared/logging.py shared/metrics.py
        shared/settings.py shared/telemetry.py worker/app.py worker/consumer.py
        worker/metrics.py worker/process.py worker/runtime.py
    """,
    "how any statement reaches the database, and the rows that they read and write": """
        shared/database.py shared/dialects.py shared/statements.py shared/store/messages.py
        shared/store/projects.py shared/store/records.py shared/store/types.py
    """,
    "the parts of a run": """
        worker/budgets.py worker/failpoints.py worker/recorder.py worker/responses.py
        worker/runs.py worker/tracing.py worker/memory/file.py worker/memory/history.py
        worker/model/answer_limit.py worker/model/answers.py worker/model/client.py
        worker/model/recording.py worker/model/streaming.py worker/offline/model.py
    """,
    "how VibeCoder reads, edits and checks code": """
        shared/workflow/checker.py shared/workflow/limits.py shared/workflow/model.py
        shared/workflow/text.py worker/agent/arguments.py worker/agent/hooks.py
        worker/agent/instructions.py worker/agent/patch.py worker/agent/patch_text.py
        worker/agent/source.py worker/agent/tools.py
    """,
    "loops that run beside every message": """
        api/streams.py shared/overdue.py shared/store/deliveries.py shared/store/dispatch.py
        shared/store/retention.py shared/store/workers.py worker/heartbeat.py worker/listener.py
        worker/maintenance.py worker/webhooks/client.py worker/webhooks/dispatcher.py
    """,
}
"""Modules beside the picture, by the reason why they are not in it."""


def pictured() -> set[str]:
    """Return the modules that the README's picture names."""
    section = (ROOT / "README.md").read_text().partition("## The path of a message")[2]
    return set(MODULE.findall(section.split("```")[1]))


def traced(service: Service, trace: Path) -> Service:
    """Let a service note the modules that it runs."""
    inherited = service.environment
    tracer = {"PYTHONPATH": str(ROOT / "tests" / "tracer"), "VIBECODER_TEST_TRACE": str(trace)}
    service.environment = lambda: inherited() | tracer  # type: ignore[method-assign]
    return service


@pytest.fixture(autouse=True)
def _not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "forked", False)  # a tracer begins with its process


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.fixture
def embedded_service(tmp_path: Path, trace: Path) -> Iterator[list[Service]]:
    service = EmbeddedService(tmp_path, {"VIBECODER_MODEL": "offline"})
    with traced(service, trace):
        yield [service]


@pytest.fixture
def processes(
    tmp_path: Path, trace: Path, postgres_database: str, redis_server: RedisServer
) -> Iterator[list[Service]]:
    settings = {
        "VIBECODER_DATABASE_URL": postgres_database,
        "VIBECODER_REDIS_URL": redis_server.url,
        "VIBECODER_NAMESPACE": f"path-{tmp_path.name}",
        "VIBECODER_MODEL": "offline",
    }
    api = ApiProcess(tmp_path, settings)
    worker = WorkerProcess(tmp_path, settings)
    with ExitStack() as stack:
        yield [stack.enter_context(traced(service, trace)) for service in (api, worker)]


def path_of_a_message(services: list[Service], trace: Path) -> set[str]:
    """Send a message that changes code; return the modules that ran meanwhile."""
    api = services[0]
    assert isinstance(api, ApiProcess)
    reports = [Path(f"{trace}.{service.pid}") for service in services]
    with httpx2.Client(base_url=api.url, timeout=60, trust_env=False) as client:
        session_id = new_session(client, new_project(client))
        send(client, session_id, "Create an agent called warm up")
        trace.touch()
        for report in reports:
            wait_until(Path(f"{report}.begun").exists, "the tracer to begin")
        message = send(client, session_id, "Create a triage agent").json()
        trace.unlink()
        for report in reports:
            wait_until(report.exists, "the tracer to end")
    assert message["status"] == "completed"
    assert message["revision"]
    return {name for report in reports for name in report.read_text().split()}


@pytest.mark.parametrize("services", ["embedded_service", "processes"])
def test_a_message_passes_the_modules_of_the_picture_and_no_others(
    services: str, trace: Path, request: pytest.FixtureRequest
) -> None:
    passed = path_of_a_message(request.getfixturevalue(services), trace)
    assert pictured() - passed == set()
    beside = {name for names in INFRASTRUCTURE.values() for name in names.split()}
    assert passed - pictured() - beside == set()


def test_the_list_beside_the_picture_names_modules_that_there_are() -> None:
    names = " ".join(INFRASTRUCTURE.values()).split()
    assert [name for name in names if not (ROOT / name).is_file()] == []
    assert len(names) == len(set(names))
