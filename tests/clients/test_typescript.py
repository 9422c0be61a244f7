"""TypeScript's types, generated from the document that a service serves, do the main job."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.commands import HERE, run
from tests.licences import refused

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def generated(caller: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("npm"):
        pytest.skip("the TypeScript client's tests want Node: apt install nodejs npm")
    place = shutil.copytree(HERE / "typescript", tmp_path_factory.mktemp("typescript") / "client")
    run(["npm", "ci"], place, caller)
    run(["npm", "run", "generate"], place, caller)
    return place


def test_the_client_compiles_and_does_the_main_job(
    caller: Mapping[str, str], generated: Path
) -> None:
    run(["npm", "run", "compile"], generated, caller)
    done = run(["npm", "start"], generated, caller)
    assert done.stdout.endswith("All of it was done.\n")


def test_its_dependencies_may_come_from_any_registry_and_have_good_licences() -> None:
    locked = json.loads((HERE / "typescript" / "package-lock.json").read_text())["packages"]
    packages = {name: package for name, package in locked.items() if name}
    assert packages
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if refused(package["license"])]
