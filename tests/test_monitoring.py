"""Alert rules, dashboard and runbook agree with each other and with what processes really tell."""

import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
import yaml

from tests.api.calls import new_session, send
from tests.distributed import Distributed
from tests.scrape import scrape
from tests.services import ROOT, wait_until

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


@pytest.fixture
def told(distributed: Distributed) -> set[str]:
    """Give the names of all metrics of an API and workers that have answered messages."""
    with ExitStack() as stack:
        api, *workers = (
            stack.enter_context(httpx2.Client(base_url=url, timeout=30, trust_env=False))
            for url in distributed.metrics
        )
        session_id = new_session(api)
        assert send(api, session_id).status_code == 200
        assert send(api, session_id, "[[status 500]]", model="stub").status_code == 502
        assert [worker.get("/health").status_code for worker in workers] == [200, 200]
        wait_until(lambda: any(map(swept, workers)), "a sweep")
        return set().union(*(scrape(each).names for each in (api, *workers)))


def swept(worker: httpx2.Client) -> bool:
    return scrape(worker).get("vibecoder_sweeps_total", outcome="done") > 0


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
