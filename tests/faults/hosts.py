"""Hosts on one machine: network namespaces on a bridge, each with an address and a link to cut."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typing_extensions import override

from tests.services import ApiProcess, WorkerProcess

_NET = "10.213.77"
_PREFIX = f"vc{os.getpid() % 100_000}"


@dataclass(frozen=True)
class Host:
    """A network namespace; what runs in it reaches only the bridge."""

    name: str
    address: str

    def enter(self) -> list[str]:
        """Return what runs a command on this host."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Take the cable out: nothing is refused, everything is lost."""
        _ip("link", "set", self.name, "down")

    def mend(self) -> None:
        """Put the cable in again."""
        _ip("link", "set", self.name, "up")


class HostApi(ApiProcess):
    """An API process on a host."""

    host: Host

    @override
    def command(self) -> list[str]:
        return [*self.host.enter(), *super().command()]


class HostWorker(WorkerProcess):
    """A worker on a host, with a disk of its own."""

    host: Host

    @override
    def command(self) -> list[str]:
        return [*self.host.enter(), *super().command()]


def api_on(host: Host, directory: Path, settings: dict[str, str]) -> HostApi:
    """Make the host's API process."""
    own = {"VIBECODER_HOST": host.address, "VIBECODER_ANONYMOUS": "true"}
    api = HostApi(directory, settings | own, name=f"api-{host.name}")
    api.host = host
    return api


def worker_on(host: Host, directory: Path, settings: dict[str, str]) -> HostWorker:
    """Make the host's worker."""
    worker = HostWorker(directory, settings, name=f"worker-{host.name}")
    worker.host = host
    return worker


@contextmanager
def hosts(count: int) -> Iterator[tuple[str, list[Host]]]:
    """Give the bridge's address, where servers may listen, and so many hosts."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip(
            "network namespaces want root and the program ip (Debian: apt install iproute2)"
        )
    bridge = f"{_PREFIX}br"
    made = [Host(f"{_PREFIX}h{n}", f"{_NET}.{10 + n}") for n in range(count)]
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{_NET}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for host in made:
            _plug(host, bridge)
        yield f"{_NET}.1", made
    finally:
        for host in made:
            # first: with its host it would go a moment later, and the next test takes its name
            _ip("link", "delete", host.name, check=False)
            _ip("netns", "delete", host.name, check=False)
        _ip("link", "delete", bridge, check=False)


def _plug(host: Host, bridge: str) -> None:
    inside = ["-n", host.name]
    _ip("netns", "add", host.name)
    _ip("link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("link", "set", host.name, "master", bridge, "up")
    _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("eth0", "lo"):
        _ip(*inside, "link", "set", device, "up")


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if check and done.returncode:
        pytest.skip(f"this machine makes no network namespaces: {done.stderr.strip()}")
