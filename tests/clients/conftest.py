"""A service that wants a key, and what a client is told of it."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.commands import run
from tests.services import ROOT, EmbeddedService, clean_environment
from tests.stub_process import StubOpenAI


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Give the environment of a client: `URL`, `KEY`, and programs as in a venv that is active."""
    with StubOpenAI() as stub:
        settings = {
            "VIBECODER_ANONYMOUS": "false",
            "VIBECODER_MODEL": "offline",
            "VIBECODER_MODELS": "stub",
            "OPENAI_BASE_URL": stub.base_url,
        }
        with EmbeddedService(tmp_path_factory.mktemp("clients"), settings) as service:
            make_key = [sys.executable, "-m", "api", "keys", "create", "client"]
            key = run(make_key, ROOT, service.environment()).stdout.strip()
            path = f"{Path(sys.executable).parent}:{clean_environment()['PATH']}"
            yield clean_environment({"URL": service.url, "KEY": key, "PATH": path})
