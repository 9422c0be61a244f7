"""The files of a deployment fit their schemas, each other and the settings they name."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shared.settings import Settings
from shared.version import VERSION
from tests.services import ROOT, clean_environment

DRAIN_S = Settings().drain_s
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
]
OURS = ["migrate", "api", "worker"]
WHO_SAYS_WHO_CALLS = "FORWARDED_ALLOW_IPS"  # uvicorn's own setting


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


PODS = {
    named(manifest): manifest["spec"]["template"]
    for manifest in MANIFESTS
    if "template" in manifest.get("spec", {})
}


def of(kind: str, name: str) -> dict[str, Any]:
    [found] = [m for m in MANIFESTS if named(m) == f"{kind} {name}"]
    return found


def variables() -> set[str]:
    return {
        str(field.validation_alias or f"VIBECODER_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }


@pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
def test_a_manifest_fits_the_schemas_of_kubernetes(manifest: dict[str, Any]) -> None:
    assert kubernetes_validate.validate(manifest, "1.31", strict=True) == "1.31"


@pytest.mark.parametrize("pod", list(PODS.values()), ids=list(PODS))
def test_a_pod_is_locked_down_and_limited(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "they look like settings"
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_disruption_and_a_rollout_leave_some_pods_that_are_probed(name: str) -> None:
    deployment = of("Deployment", name)["spec"]
    budget = of("PodDisruptionBudget", name)["spec"]
    assert budget["selector"] == deployment["selector"]
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    assert deployment["replicas"] > 1
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    [container] = deployment["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe].get("httpGet") or container[probe]["tcpSocket"]
        assert asked["port"] in ports


def test_a_worker_may_drain_before_it_is_killed() -> None:
    pod = of("Deployment", "worker")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_S + 5
    grace = COMPOSE["services"]["worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > DRAIN_S + 5


def test_only_settings_that_exist_are_set() -> None:
    kubernetes = of("ConfigMap", "settings")["data"].keys()
    secrets = {name.upper() for name in of("Secret", "secrets")["stringData"]}
    assert kubernetes | secrets <= variables()
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["environment"].keys() <= variables() | {WHO_SAYS_WHO_CALLS}
        assert {secret.upper() for secret in service["secrets"]} <= variables()
    example = re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert set(example) == used


@pytest.mark.parametrize("name", list(COMPOSE["services"]))
def test_a_container_is_locked_down_and_limited(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    if name != "migrate":
        assert service["deploy"]["resources"]["limits"]["memory"]
    if name != "postgres":  # it gives up root by itself, and needs capabilities for that
        assert service["cap_drop"] == ["ALL"]
        assert name in OURS or service["user"].split(":")[0] not in {"", "0", "root"}
    for host in service.get("ports", ()):
        assert host.startswith("${VIBECODER_PUBLISH:-127.0.0.1:")


def test_the_proxy_alone_reaches_the_api_and_says_who_calls() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == [
        "proxy"
    ]
    assert COMPOSE["services"]["api"]["environment"][WHO_SAYS_WHO_CALLS] == "*"
    proxy = (ROOT / "deploy/nginx/nginx.conf").read_text()
    assert re.findall(r"X-Forwarded-For (\S+);", proxy) == ["$remote_addr"]


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    images = {c["image"] for pod in PODS.values() for c in pod["spec"]["containers"]}
    assert images == {f"vibecoder-sessions:{VERSION}", "redis:7"}


def test_the_image_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["www-data", "10001"]


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    script = tmp_path / "deploy/secrets.sh"
    script.parent.mkdir()
    script.write_text((ROOT / "deploy/secrets.sh").read_text())
    written: list[dict[str, str]] = []
    for _ in range(2):
        subprocess.run(["bash", script], check=True, capture_output=True, env=clean_environment())
        written.append({path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()})
    assert written[0] == written[1]
    assert written[0].keys() == COMPOSE["secrets"].keys()
    password = written[0]["postgres_password"]
    assert len(password) == 48
    assert f"vibecoder:{password}@postgres:5432" in written[0]["vibecoder_database_url"]
