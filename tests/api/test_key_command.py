"""`python -m api keys`: as a person at a terminal uses it."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from api.__main__ import main
from tests.services import ROOT, ApiProcess, EmbeddedService, clean_environment, wait_until


@dataclass
class Said:
    """What a command printed."""

    stdout: str
    stderr: str


def keys(directory: Path, *arguments: str) -> Said:
    """Do what `python -m api keys` does; a process would take most of these tests' time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("VIBECODER_DATA_DIR", str(directory))
        patch.setenv("VIBECODER_HOST", "0.0.0.0")
        main("keys", *arguments)
    return Said(out.getvalue(), err.getvalue())


@pytest.mark.services
def test_the_command_is_one_of_the_services(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api", "keys", "list"],
        check=True,
        cwd=ROOT,
        env=clean_environment({"VIBECODER_DATA_DIR": str(tmp_path)}),
        capture_output=True,
        text=True,
    )
    assert "There are no keys yet" in done.stderr


@pytest.mark.services
def test_a_key_is_made_beside_the_running_service_listed_and_revoked(tmp_path: Path) -> None:
    with EmbeddedService(tmp_path) as service, httpx2.Client(trust_env=False) as client:
        data = Path(service.settings["VIBECODER_DATA_DIR"])
        assert "There are no keys yet" in keys(data, "list").stderr
        made = keys(data, "create", "alice", "--owner", "support", "--expires", "90d")
        key = made.stdout.strip()  # alone, for scripts
        assert "only time" in made.stderr
        headers = {"Authorization": f"Bearer {key}"}
        caller = client.get(f"{service.url}/caller", headers=headers).json()
        assert (caller["owner"], caller["role"], caller["key"]) == ("support", "write", "alice")

        listed = keys(data, "list").stdout
        assert "alice" in listed
        assert "valid" in listed
        _, key_id, secret = key.split("_")
        assert secret not in listed
        stored = b"".join(path.read_bytes() for path in data.glob("vibecoder.db*"))
        assert secret.encode() not in stored
        assert key_id.encode() in stored

        assert "revoked" in keys(data, "revoke", key_id).stderr
        assert "revoked" in keys(data, "list").stdout
        wait_until(
            lambda: client.get(f"{service.url}/caller", headers=headers).status_code == 401,
            "the revoked key to be refused",
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["revoke", "abc"], "There is no key abc"),
        (["create", "two\nlines"], "printable ASCII"),
        (["create", "x", "--expires", "soon"], "minutes, hours or days"),
        (["create", "x", "--role", "god"], "invalid choice"),
        ([], "arguments are required"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_order_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setenv("VIBECODER_DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main("keys", *arguments)
    assert ended.value.code != 0
    assert sentence in f"{ended.value.code} {capsys.readouterr().err}"


@pytest.mark.services
def test_a_service_without_keys_binds_no_network_until_one_is_made(tmp_path: Path) -> None:
    service = EmbeddedService(tmp_path, {"VIBECODER_HOST": "0.0.0.0"})
    service.launch()
    assert service.wait_stopped() != 0
    assert "make one with `python -m api keys create NAME`" in service.output()
    data = Path(service.settings["VIBECODER_DATA_DIR"])
    key = keys(data, "create", "alice").stdout.strip()
    with service:
        assert "A key is asked for" in service.output()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=service.url, trust_env=False) as client:
            assert client.get("/projects").status_code == 401
            assert client.get("/projects", headers=headers).status_code == 200


class Uvicorn(ApiProcess):
    """The API as its server's own command starts it, on every address of this machine."""

    def command(self) -> list[str]:
        address = ["--host", "0.0.0.0", "--port", str(self.port)]
        return [sys.executable, "-m", "uvicorn", "api.app:app", *address]


@pytest.mark.services
def test_a_server_bound_to_a_network_behind_the_settings_back_serves_loopback_alone(
    tmp_path: Path,
) -> None:
    with Uvicorn(tmp_path) as service, httpx2.Client(trust_env=False) as client:
        assert client.get(f"{service.url}/projects").status_code == 200
        addresses = subprocess.run(
            ["hostname", "-I"], check=False, capture_output=True, text=True
        ).stdout.split()
        if not addresses:
            pytest.skip("this machine has no address but loopback")
        url = f"http://{addresses[0]}:{service.port}"
        assert client.get(f"{url}/projects").status_code == 401
        assert client.get(f"{url}/health").status_code == 200
