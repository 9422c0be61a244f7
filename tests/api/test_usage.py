"""Usage, cost, budgets and what retention leaves, over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from starlette.testclient import TestClient

from tests.api.calls import assert_problem, new_project, new_session, send
from tests.api.document import check_answers
from tests.eager import eager_service
from tests.services import ROOT, clean_environment

COUNTS = ("calls", "input_tokens", "output_tokens")
# each call of the model costs some dollars
DEAR = '{"models": {"offline": {"input": "10000", "output": "10000"}}}'


@pytest.fixture
def dear(tmp_path: Path) -> Iterator[TestClient]:
    """Give a service whose model costs money."""
    prices = tmp_path / "prices.json"
    prices.write_text(DEAR)
    with eager_service(tmp_path / "data", prices=prices) as client:
        yield check_answers(client)


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def usage(client: TestClient, what: str, its_id: str, **days: str) -> dict[str, Any]:
    answer = client.get(f"/{what}s/{its_id}/usage", params=days)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_message_a_session_and_a_project_say_what_they_used(client: TestClient) -> None:
    project_id = new_project(client)
    one, two = (new_session(client, project_id, new=True) for _ in range(2))
    messages = [send(client, one, "Create a triage agent").json() for _ in range(2)]
    messages.append(send(client, two).json())
    for message in messages:
        found = usage(client, "message", message["message_id"])["totals"]
        used = message["usage"]
        assert [found[name] for name in COUNTS] == [
            used[name] for name in ("requests", "input_tokens", "output_tokens")
        ]
    of_session = usage(client, "session", one)["totals"]
    of_project = usage(client, "project", project_id)
    for name in ("input_tokens", "output_tokens"):
        assert of_session[name] == sum(m["usage"][name] for m in messages[:2]) > 0
        assert of_project["totals"][name] == sum(m["usage"][name] for m in messages)
    (day,) = of_project["days"]
    assert (day["day"], day["model"], day["cost"]) == (today(), "offline", "0")
    assert of_project["totals"]["cost"] == "0"
    assert of_project["currency"] == "USD"


def test_usage_is_of_the_days_that_are_asked_for(client: TestClient) -> None:
    project_id = new_project(client)
    send(client, new_session(client, project_id))
    for days, calls in (
        ({"from": today()}, 2),
        ({"to": today()}, 2),
        ({"from": today(), "to": today()}, 2),
        ({"to": "2026-01-31"}, 0),
        ({"from": "9999-12-31"}, 0),
        ({"from": "0001-01-01", "to": "9999-12-31"}, 2),
    ):
        assert usage(client, "project", project_id, **days)["totals"]["calls"] == calls, days


def test_days_that_are_none_are_refused(client: TestClient) -> None:
    path = f"/projects/{new_project(client)}/usage"
    for days, parameter in (
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "to"),
    ):
        problem = assert_problem(client.get(path, params=days), 422, "invalid_request")
        assert problem["errors"][0]["parameter"] == parameter, days


def test_a_model_without_a_price_costs_null_and_the_totals_say_so(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"offline": null}}')
    with eager_service(tmp_path / "data", prices=prices) as client:
        project_id = new_project(client)
        send(client, new_session(client, project_id))
        found = usage(client, "project", project_id)
    assert found["days"][0]["cost"] is None
    assert (found["totals"]["cost"], found["totals"]["unpriced_calls"]) == ("0", 2)


def test_a_cost_is_an_exact_decimal(dear: TestClient) -> None:
    project_id = new_project(dear)
    used = send(dear, new_session(dear, project_id)).json()["usage"]
    cents = used["input_tokens"] + used["output_tokens"]  # a token is a cent
    whole, rest = divmod(cents, 100)
    found = usage(dear, "project", project_id)["totals"]["cost"]
    assert found == f"{whole}.{rest:02}".rstrip("0").rstrip(".")


def test_a_used_up_budget_answers_402_and_says_what_to_do(dear: TestClient) -> None:
    project_id = new_project(dear)
    session_id = new_session(dear, project_id, budget_usd="0.01")
    assert dear.get(f"/sessions/{session_id}").json()["budget_usd"] == "0.01"
    sent = send(dear, session_id, "Create a triage agent")
    problem = assert_problem(sent, 402, "budget_exceeded")
    assert problem["retryable"] is False
    assert problem["detail"].startswith("The session's budget of 0.01 USD is used up: ")
    assert dear.get(f"/projects/{project_id}").json()["revision"] == 1
    assert dear.get(f"/sessions/{session_id}/items").json() == []
    assert usage(dear, "message", problem["message_id"])["totals"]["calls"] == 1
    changed = dear.patch(f"/sessions/{session_id}", json={"budget_usd": None}).json()
    assert (changed["budget_usd"], changed["title"]) == (None, None)
    assert send(dear, session_id, "Create a triage agent").status_code == 200


def test_a_projects_budget_is_set_changed_and_taken_away(dear: TestClient) -> None:
    project_id = new_project(dear, budget_tokens=1, budget_usd="2.5")
    path = f"/projects/{project_id}"
    project = dear.get(path).json()
    assert (project["budget_tokens"], project["budget_usd"]) == (1, "2.5")
    assert dear.get("/projects").json()[-1]["budget_tokens"] == 1
    session_id = new_session(dear, project_id)
    assert_problem(send(dear, session_id, "Create a triage agent"), 402, "budget_exceeded")
    for change, expected in (
        ({"name": "Other"}, (1, "2.5")),
        ({"budget_usd": None}, (1, None)),
        ({"budget_tokens": 10**9}, (10**9, None)),
    ):
        changed = dear.patch(path, json=change).json()
        assert (changed["budget_tokens"], changed["budget_usd"]) == expected
        assert changed["revision"] == 1
    assert send(dear, session_id, "Create a triage agent").status_code == 200


def test_what_is_no_budget_is_refused(client: TestClient) -> None:
    project_id = new_project(client)
    session_id = new_session(client, project_id)
    budgets: list[dict[str, Any]] = [
        {"budget_tokens": -1},
        {"budget_tokens": 1.5},
        {"budget_tokens": "5"},
        {"budget_tokens": True},
        {"budget_tokens": 10**16},
        {"budget_usd": 5},
        {"budget_usd": "-1"},
        {"budget_usd": "1e3"},
        {"budget_usd": "NaN"},
        {"budget_usd": "1.0000001"},
        {"budget_usd": "1\n"},
        {"budget_usd": ""},
    ]
    for budget in budgets:
        for answer in (
            client.post("/projects", json={"name": "x"} | budget),
            client.patch(f"/projects/{project_id}", json=budget),
            client.post(f"/projects/{project_id}/sessions", json=budget),
            client.patch(f"/sessions/{session_id}", json=budget),
        ):
            problem = assert_problem(answer, 422, "invalid_request")
            assert problem["errors"][0]["pointer"] == f"#/{next(iter(budget))}", budget


def test_a_revision_outlives_the_message_that_made_it(client: TestClient) -> None:
    project_id = new_project(client)
    session_id = new_session(client, project_id)
    message_id = send(client, session_id, "Create a triage agent").json()["message_id"]
    before = usage(client, "project", project_id)
    delete_session(client, session_id)
    assert_problem(client.get(f"/messages/{message_id}"), 404, "message_not_found")
    assert_problem(client.get(f"/sessions/{session_id}/usage"), 404, "session_not_found")
    assert client.get(f"/projects/{project_id}/revisions/2").json()["message_id"] == message_id
    assert len(client.get(f"/projects/{project_id}/revisions").json()) == 2
    restored = client.post(f"/projects/{project_id}/revisions/1/restore")
    assert restored.json()["revision"] == 3
    assert usage(client, "project", project_id)["totals"]["calls"] == 0 < before["totals"]["calls"]
    again = new_session(client, project_id)
    assert send(client, again, "Create a billing agent").status_code == 200


def delete_session(client: TestClient, session_id: str) -> None:
    """Delete a session's rows, as if it had been of no use for a long time; without its sums."""
    settings = client.app.state.settings  # type: ignore[attr-defined]
    engine = create_engine(f"sqlite:///{settings.database_location}")
    with engine.begin() as db:
        db.execute(text("PRAGMA foreign_keys=ON"))
        db.execute(text("DELETE FROM sessions WHERE id = :id"), {"id": session_id.replace("-", "")})
    engine.dispose()


@pytest.mark.services
@pytest.mark.parametrize("command", [["-m", "api"], ["-m", "worker"]])
def test_a_wrong_file_of_prices_ends_the_start_with_a_sentence(
    tmp_path: Path, command: list[str]
) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"gpt-5.1": {"input": 1}}}')
    settings = {"VIBECODER_PRICES": str(prices), "VIBECODER_DATA_DIR": str(tmp_path / "data")}
    if "worker" in command:
        settings["VIBECODER_REDIS_URL"] = "redis://127.0.0.1:1/0"
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=ROOT,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode != 0
    assert "is no table of prices: models.gpt-5.1.output: Field required" in done.stderr
    assert "Traceback" not in done.stderr
