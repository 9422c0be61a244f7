"""Settings from the environment and from files, and what is said of a wrong one."""

import io
import json
import sys
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.logging import configure_logging, get_logger
from shared.settings import Settings, load_settings


def test_secrets_come_from_files_named_like_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vibecoder_redis_url").write_text("redis://:hidden@redis/0\n")
    (tmp_path / "OPENAI_API_KEY").write_text("sk-from-a-file\n")
    (tmp_path / "vibecoder_port").write_text("1234")
    monkeypatch.setenv("VIBECODER_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("VIBECODER_PORT", "4321")
    settings = load_settings()
    assert settings.redis_url == "redis://:hidden@redis/0"
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-from-a-file"
    assert settings.port == 4321, "the environment comes first"


def test_an_empty_secret_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openai_api_key").write_text("")
    monkeypatch.setenv("VIBECODER_SECRETS_DIR", str(tmp_path))
    assert load_settings().default_model == "offline"


def test_a_missing_folder_of_secrets_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBECODER_SECRETS_DIR", "/nowhere")
    with pytest.raises(SettingsError, match="VIBECODER_SECRETS_DIR=/nowhere is no folder"):
        load_settings()


@pytest.mark.parametrize(
    ("chosen", "terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("json", True, True),
        ("console", False, False),
    ],
)
def test_lines_are_for_people_or_for_programs(
    chosen: str, *, terminal: bool, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    written.isatty = lambda: terminal  # type: ignore[method-assign]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", written)
        configure_logging(Settings.model_validate({"log_format": chosen}))
        get_logger("shared.test").info("something happened", count=1)
    configure_logging(Settings())
    line = written.getvalue()
    assert "something happened" in line
    assert line.startswith("{") is is_json
    if is_json:
        assert json.loads(line)["count"] == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, None),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("https://me:s3cret@models.example/v1", "https://models.example/v1"),
        ("https://me:s3c@ret@[::1]:80", "https://[::1]:80"),
        ("https://models.example:port/v1?key=s3cret#s3cret", "https://models.example:port/v1"),
    ],
)
def test_the_model_servers_address_is_shown_without_its_password(
    url: str | None, shown: str | None
) -> None:
    assert Settings(OPENAI_BASE_URL=url).model_server == shown
