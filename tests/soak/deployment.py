"""The compose deployment as docs/deployment.md starts it, looked at and harmed from outside."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from tests.services import ROOT, clean_environment, free_port

_LOOK_S = 0.5
_PATIENCE_S = 300


class DeploymentBroken(Exception):
    """A command of the deployment failed."""


@dataclass(frozen=True)
class Container:
    """One container at one moment."""

    id: str
    service: str
    created: str
    started: str
    state: str

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Self:
        """Read what `docker inspect` shows of a container."""
        state = shown["State"]
        return cls(
            id=shown["Id"],
            service=shown["Config"]["Labels"]["com.docker.compose.service"],
            created=shown["Created"],
            started=state["StartedAt"],
            state=state.get("Health", state)["Status"],
        )

    @property
    def host(self) -> str:
        """Return the container's name for itself."""
        return self.id[:12]

    @property
    def well(self) -> bool:
        """Tell whether it is healthy, or runs if nobody asks it how it is."""
        return self.state in ("healthy", "running")


async def end(process: asyncio.subprocess.Process) -> None:
    """End a command and what it started, so that nothing makes what is being taken down."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


def _created(container: Container) -> str:
    return container.created


class Deployment:
    """A compose project of its own on a free port; leaving the `with` takes everything down."""

    def __init__(self, workers: int) -> None:
        self.name = f"vibecoder-soak-{uuid4().hex[:6]}"
        place = f"127.0.0.1:{free_port()}"
        self.url = f"http://{place}"
        self._workers = workers
        self._environment = clean_environment(
            {
                "COMPOSE_FILE": f"{ROOT}/docker-compose.yml:{ROOT}/tests/soak/compose.yml",
                "COMPOSE_PROJECT_NAME": self.name,
                "COMPOSE_DISABLE_ENV_FILE": "1",
                "SECRETS": "./deploy/secrets",
                "VIBECODER_PUBLISH": place,
                "OPENAI_BASE_URL": "http://model:8080/v1",
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(
            ["docker", "compose", "down", "--volumes", "--remove-orphans", "--timeout", "5"],
            cwd=ROOT,
            env=self._environment,
            check=True,
            capture_output=True,
            start_new_session=True,  # a second Ctrl-C does not leave the half of it
        )

    async def start(self) -> None:
        """Do what the docs say; return when every container is healthy."""
        scale = f"worker={self._workers}"
        await self.compose("up", "--build", "--detach", "--wait", "--scale", scale)

    async def compose(self, *command: str) -> str:
        """Run `docker compose` on this project."""
        return await self.run("docker", "compose", *command)

    async def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the deployment's environment and return what it said."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        try:
            said, complained = await process.communicate()
        finally:
            await end(process)
        if process.returncode and check:
            raise DeploymentBroken(f"{' '.join(command)}: {complained.decode()[-2000:]}")
        return said.decode()

    async def follow_logs(self) -> asyncio.subprocess.Process:
        """Follow what all containers log, those too that come later."""
        return await asyncio.create_subprocess_exec(
            *("docker", "compose", "logs", "--follow", "--no-color", "--timestamps"),
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=1 << 20,  # bytes of a line
            process_group=0,
        )

    async def containers(self, service: str = "") -> list[Container]:
        """List the containers, the oldest first; of one that is just removed nothing is said."""
        label = f"label=com.docker.compose.project={self.name}"
        ids = (await self.run("docker", "ps", "--all", "--quiet", "--filter", label)).split()
        shown = json.loads(await self.run("docker", "inspect", *ids, check=False))
        found = sorted(map(Container.of, shown), key=_created)
        return [one for one in found if service in ("", one.service)]

    async def wait_well(self, well: Callable[[Container], bool], service: str) -> None:
        """Wait until every container of a service is as it should be."""
        async with asyncio.timeout(_PATIENCE_S):
            while not all(map(well, await self.containers(service))):  # noqa: ASYNC110 -- asks Docker
                await asyncio.sleep(_LOOK_S)

    async def database_url(self) -> str:
        """Return where this host reaches the database."""
        place = (await self.compose("port", "postgres", "5432")).strip()
        inside = (ROOT / "deploy/secrets/vibecoder_database_url").read_text().strip()
        return inside.replace("postgres:5432", place)

    async def image_mb(self) -> dict[str, int]:
        """Return the sizes of the project's own images."""
        names = ("vibecoder-sessions", "vibecoder-sessions-proxy")
        shown = await self.run("docker", "image", "inspect", "--format", "{{.Size}}", *names)
        return {name: int(size) // 10**6 for name, size in zip(names, shown.split(), strict=True)}
