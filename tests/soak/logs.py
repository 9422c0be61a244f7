"""What the containers logged, and which of it nothing that was done explains."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from tests.canaries import leaks
from tests.soak.deployment import end
from tests.soak.harm import Harm, felt

_LINE = re.compile(r"(?:\x1b\[2K)*([a-z]+)-\d+ +\| (\S+) (.*)")
_BAD_LEVELS = frozenset({"warning", "error", "critical"})
_BAD_LINE = re.compile(
    r"\[(?:warn|error|crit|alert|emerg)\]"  # nginx
    r"|\b(?:WARNING|ERROR|FATAL|PANIC): "  # PostgreSQL
    r"|^\d+:[MSCX] \d.{20,30} # "  # Redis
    r"|^Traceback |^\w*(?:Warning|Error)\b"  # Python
)


@dataclass(frozen=True)
class Line:
    """One line of one container."""

    service: str
    at: float
    text: str

    @classmethod
    def read(cls, line: str) -> Self | None:
        """Read a line of `docker compose logs --timestamps`."""
        match = _LINE.match(line)
        if not match:
            return None
        moment = datetime.fromisoformat(f"{match[2][:26]}+00:00")
        return cls(match[1], moment.timestamp(), match[3])

    @property
    def bad(self) -> bool:
        """Tell whether it is a warning or worse."""
        if self.text.startswith("{"):
            return json.loads(self.text).get("level") in _BAD_LEVELS
        return bool(_BAD_LINE.search(self.text))

    @property
    def gist(self) -> str:
        """Return what lines of the same kind have in common."""
        told = json.loads(self.text)["event"] if self.text.startswith("{") else self.text
        return re.sub(r"[\d:/.*#-]*\d[\d:/.*#-]*", "#", told).replace("# ", "")[:80]


class Logs:
    """The lines of all containers."""

    def __init__(self) -> None:
        self.whole = True
        self._lines: list[Line] = []

    async def follow(self, process: asyncio.subprocess.Process) -> None:
        """Read until the process ends, or this is cancelled."""
        assert process.stdout
        try:
            async for line in process.stdout:
                if read := Line.read(line.decode(errors="replace").rstrip("\n")):
                    self._lines.append(read)
            self.whole = False  # it has ended by itself, too early
        finally:
            await end(process)

    def __len__(self) -> int:
        return len(self._lines)

    def bad(self, since: float) -> list[Line]:
        """List the warnings and worse since the load began."""
        return [line for line in self._lines if line.at >= since and line.bad]

    def secrets(self) -> list[str]:
        """List the lines in which a prompt or the model's words stand."""
        return [line for one in self._lines for line in leaks(one.text)]


def unexplained(lines: Sequence[Line], harms: Sequence[Harm]) -> list[Line]:
    """Leave out what was logged while a fault was felt."""
    return [line for line in lines if not felt(harms, line.at, line.at)]
