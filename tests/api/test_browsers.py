"""What keeps a browser from doing harm: headers of every answer, and whose pages may call."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.calls import assert_problem, new_project
from tests.eager import idle_service

ORIGIN = "https://console.example"


@pytest.mark.parametrize("path", ["/projects", "/nothing", "/health", "/projects?limit=x"])
def test_every_answer_says_what_a_browser_must_not_do(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = headers["Content-Security-Policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'"


def test_a_picture_keeps_its_styles_and_runs_nothing(client: TestClient) -> None:
    answer = client.get(f"/projects/{new_project(client)}/workflow.svg")
    policy = answer.headers["Content-Security-Policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'"
    assert "<style>" in answer.text


def test_a_page_says_itself_what_it_loads_and_is_framed_by_nobody(client: TestClient) -> None:
    for page in ("/", "/docs"):
        policy = client.get(page).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; ")
        assert policy.endswith("; frame-ancestors 'none'")


def test_no_foreign_page_may_call_unless_it_is_named(client: TestClient) -> None:
    answer = client.get("/projects", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_page_that_is_named_may_call_and_read(tmp_path: Path) -> None:
    with idle_service(tmp_path / "data", anonymous=False, cors_origins=(ORIGIN,)) as client:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        wanted = {"Access-Control-Request-Headers": "authorization, idempotency-key, content-type"}
        before = client.options("/projects", headers=asked | wanted)  # browsers send it no key
        assert before.status_code == 200
        assert before.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "access-control-allow-credentials" not in before.headers
        refused = client.get("/projects", headers={"Origin": ORIGIN})
        assert_problem(refused, 401, "key_required")
        assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN  # the page can read why
        shown = refused.headers["Access-Control-Expose-Headers"]
        for name in ("X-Trace-Id", "Location", "Link", "Retry-After", "ETag"):
            assert name in shown
        other = client.get("/health", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        assert client.options("/projects", headers=asked | {"Origin": "null"}).is_error
