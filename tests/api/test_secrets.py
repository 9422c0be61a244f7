"""Prompts, keys and what the model says reach no problem, and no log of a real service."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.calls import ASYNC, new_project, new_session, send
from tests.canaries import MODEL_BODY, MODEL_KEY, PROMPT, leaks
from tests.services import ROOT, EmbeddedService, clean_environment
from tests.stub_process import StubOpenAI

pytestmark = pytest.mark.services

ENDS = [
    "",
    "[[status 400]]",
    "[[status 401]]",
    "[[status 429 retry-after 1]]",
    "[[status 500]]",
    "[[garbage]]",
    "[[broken]]",
    "[[refuse]]",
    "[[hang]]",
    "[[tool apply_patch {}]]",
    '[[tool apply_patch {"patch": "planted-prompt-5b1c3c0a"}]]',
    "[[tool unknown {}]]",
]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, stub: StubOpenAI
) -> Iterator[EmbeddedService]:
    """Give a service that logs all that it ever logs, with secrets in every place."""
    settings = {
        "OPENAI_BASE_URL": stub.base_url.replace("://", f"://me:{MODEL_KEY}@"),
        "OPENAI_API_KEY": MODEL_KEY,
        "VIBECODER_LOG_LEVEL": "debug",
        "VIBECODER_MODEL_RETRIES": "1",
        "VIBECODER_MODEL_TIMEOUT_S": "1",
        "VIBECODER_MAX_TURNS": "2",
    }
    with EmbeddedService(tmp_path_factory.mktemp("secrets"), settings) as service:
        yield service


@pytest.fixture(scope="module")
def key(service: EmbeddedService) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "api", "keys", "create", "test"],
        check=True,
        cwd=ROOT,
        env=clean_environment(service.settings),
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def caller(service: EmbeddedService, key: str) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(
        base_url=service.url, headers=headers, timeout=30, trust_env=False
    ) as client:
        yield client


def log_of(service: EmbeddedService) -> str:
    return service.log.read_text()


@pytest.mark.parametrize("end", ENDS)
def test_however_a_message_ends_its_secrets_are_told_to_nobody(
    service: EmbeddedService, caller: httpx2.Client, end: str
) -> None:
    session_id = new_session(caller)
    answer = send(caller, session_id, f"{PROMPT} {end}")
    if answer.is_error:
        assert leaks(answer.text) == []
    else:
        full = caller.get(f"/messages/{answer.json()['message_id']}/full").json()
        assert full["responses"][0]["raw"]["x_vendor"]["planted"] == MODEL_BODY  # it was there
    assert leaks(log_of(service)) == []


def test_what_is_wrong_with_a_request_is_told_without_its_secrets(
    service: EmbeddedService, caller: httpx2.Client, key: str
) -> None:
    session_id = new_session(caller)
    path = f"/sessions/{session_id}/messages"
    code = f'x = "{PROMPT}"\n('
    answers = [
        caller.post(path, json={"prompt": PROMPT, "modell": PROMPT}),
        caller.post(path, json={"prompt": [PROMPT]}),
        caller.post(path, json={"prompt": PROMPT, "model": PROMPT}),
        caller.post(path, content=PROMPT, headers={"Content-Type": "application/json"}),
        caller.post(path, json={"prompt": PROMPT}, headers={"Idempotency-Key": f"{PROMPT} x"}),
        caller.post("/projects", json={"name": "x", "code": code}),
        caller.get("/projects", headers={"Authorization": f"Bearer {key[:-1]}x"}),
    ]
    for answer in answers:
        assert answer.is_client_error, answer.text
        assert leaks(answer.text) == []
    assert leaks(log_of(service)) == []


def test_a_cancelled_and_a_deleted_message_leave_no_secret(
    service: EmbeddedService, caller: httpx2.Client
) -> None:
    project_id = new_project(caller, instructions=PROMPT)
    session_id = new_session(caller, project_id)
    running = send(caller, session_id, f"{PROMPT} [[delay 5]]", headers=ASYNC).json()
    assert caller.post(f"/messages/{running['message_id']}/cancel").is_success
    send(caller, session_id, f"{PROMPT} [[delay 5]]", headers=ASYNC)
    assert caller.delete(f"/projects/{project_id}").is_success
    assert leaks(log_of(service)) == []


def test_a_leak_would_be_found(tmp_path: Path) -> None:
    for secret in (PROMPT, MODEL_BODY, MODEL_KEY, f"vck_{'0' * 16}_{'f' * 64}"):
        assert leaks(f"fine\nerror: {secret}\nfine") == [f"error: {secret}"]


def test_nobody_else_on_the_machine_reads_the_data_folder(
    service: EmbeddedService, caller: httpx2.Client
) -> None:
    send(caller, new_session(caller), "hello")
    files = set(Path(service.settings["VIBECODER_DATA_DIR"]).rglob("*"))
    assert {path.suffix for path in files} >= {".db", ".lock", ""}
    assert [path for path in files if path.stat().st_mode & 0o077] == []
