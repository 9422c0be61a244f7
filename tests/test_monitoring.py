"""Alert rules, dashboard and runbook agree with each other and with what processes really tell."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import yaml

from tests.api.calls import new_session, send
from tests.scrape import scrape
from tests.services import ROOT, ApiProcess, RedisServer, WorkerProcess, free_port, wait_until

DEPLOY = ROOT / "deploy"
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
METRIC = re.compile(r"\b(?:vibecoder|process)_[a-z_]+\b")
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = json.loads((DEPLOY / "grafana/dashboard.json").read_text())["panels"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory,
    make_database: Callable[[], str],
    redis_server: RedisServer,
) -> Iterator[set[str]]:
    """Give the names of all metrics of an API and a worker that have answered a message."""
    port = free_port()
    settings = {
        "VIBECODER_DATABASE_URL": make_database(),
        "VIBECODER_REDIS_URL": redis_server.url,
        "VIBECODER_NAMESPACE": f"monitoring-{uuid4().hex[:8]}",
        "VIBECODER_METRICS_PORT": str(port),
        "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
        "VIBECODER_MODEL_RETRIES": "0",
    }
    directory = tmp_path_factory.mktemp("monitoring")
    with (
        ApiProcess(directory, settings) as api,
        WorkerProcess(directory, settings),
        httpx2.Client(base_url=api.url, timeout=30, trust_env=False) as client,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as worker,
    ):
        session_id = new_session(client)
        assert send(client, session_id, model="offline").status_code == 200
        assert send(client, session_id).status_code == 502, "its model has no server"
        assert worker.get("/health").status_code == 200
        done = {"outcome": "done"}
        wait_until(lambda: scrape(worker).get("vibecoder_sweeps_total", **done) > 0, "a sweep")
        yield scrape(client).names | scrape(worker).names


def test_what_is_alerted_and_shown_is_really_told(
    told: set[str], subtests: pytest.Subtests
) -> None:
    for expression in EXPRESSIONS:
        with subtests.test(expression):
            named = set(METRIC.findall(expression))
            assert named
            assert named <= told


def test_what_is_documented_is_really_told(told: set[str]) -> None:
    documented = METRIC.findall((ROOT / "docs/operation.md").read_text())
    families = {name.rsplit("_", 1)[0] for name in told} | told
    assert set(documented) - {"process_"} <= families


def test_each_alert_has_its_section_in_the_runbook_and_no_section_is_left_over() -> None:
    alerts = [rule["alert"] for rule in RULES]
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == alerts
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(re.findall(r"\(#(\w+)\)", RUNBOOK)) <= {alert.lower() for alert in alerts}


@pytest.mark.parametrize(
    "check",
    [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["check", "config", "prometheus.yml"],
    ],
    ids=" ".join,
)
def test_promtool_accepts_the_rules(check: list[str]) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; on Debian: apt install prometheus")
    done = subprocess.run(
        [program, *check],
        check=False,
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
