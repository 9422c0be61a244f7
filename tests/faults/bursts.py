"""Many requests at the same moment, each on a connection of its own, cheap for the sender."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_PATIENCE_S = 240
_DIALLING = 500  # at once; the connections stay open together all the same


@dataclass(frozen=True)
class Told:
    """What one client was answered with; status 0: nothing, and `body` says why."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def retry_after(self) -> int:
        """Return the seconds of `Retry-After`, 0 without one."""
        return int(self.headers.get("retry-after", 0))


@dataclass
class Burst:
    """POSTs to one API process."""

    url: str
    posts: Sequence[tuple[str, dict[str, Any]]]
    answers: list[Told] = field(default_factory=list)

    def send(self) -> "Burst":
        """Send all of them and wait for every answer."""
        self.answers = asyncio.run(self._send())
        return self

    @property
    def statuses(self) -> Counter[int]:
        """Count the answers by status."""
        return Counter(answer.status for answer in self.answers)

    async def _send(self) -> list[Told]:
        dialling = asyncio.Semaphore(_DIALLING)
        return await asyncio.gather(
            *(self._post(path, body, dialling) for path, body in self.posts)
        )

    async def _post(self, path: str, body: dict[str, Any], dialling: asyncio.Semaphore) -> Told:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await _exchange(self.url, path, body, dialling)
        except (OSError, TimeoutError, EOFError) as error:
            return Told(0, {}, {"error": repr(error)})


async def _exchange(url: str, path: str, body: dict[str, Any], dialling: asyncio.Semaphore) -> Told:
    host, _, port = urlsplit(url).netloc.partition(":")
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Prefer: respond-async\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    async with dialling:
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + content)
        answer = await reader.read()
    finally:
        writer.close()
    lines, _, text = answer.partition(b"\r\n\r\n")
    if not text:
        raise EOFError("the connection ended without an answer")
    first, *fields = lines.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in fields)}
    return Told(int(first.split(" ")[1]), headers, json.loads(text))


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """Read how much memory a process holds; `VmHWM`: has ever held."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(found.split()[1]) / 1024
