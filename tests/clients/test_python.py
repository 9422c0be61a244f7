"""A Python client, generated from the document that a service serves, does the main job."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.commands import HERE, run

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def generated(caller: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("python")
    document = f"{caller['URL']}/openapi.json"
    config = str(HERE / "generator.yaml")
    command = ["openapi-python-client", "generate", "--url", document, "--config", config]
    run([*command, "--fail-on-warning"], place, caller)
    return place / "vibecoder-client"


def test_the_client_is_well_typed(caller: Mapping[str, str], generated: Path) -> None:
    run([sys.executable, "-m", "compileall", "-q", "."], generated, caller)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file="]
    run([*mypy, "vibecoder_client", str(HERE / "main_job.py")], generated, caller)


def test_the_client_does_the_main_job(caller: Mapping[str, str], generated: Path) -> None:
    job = [sys.executable, "-W", "error", str(HERE / "main_job.py")]
    done = run(job, generated, {**caller, "PYTHONPATH": str(generated)})
    assert done.stderr == ""
    assert done.stdout.endswith("All of it was done.\n")
