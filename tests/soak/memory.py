"""What the containers hold in memory over time: each process from its start, and each kind."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.soak.deployment import Container, Deployment, DeploymentBroken

_EVERY_S = 20.0
_WARM_S = 60.0
"""A process that has just started is not yet what it will be under load."""
_MB = {"B": 1e-6, "kB": 1e-3, "KiB": 1.024e-3, "MB": 1, "MiB": 1.048576, "GiB": 1073.741824}


@dataclass(frozen=True)
class Growth:
    """The longest life of a process of one kind."""

    minutes: float
    first_mb: float
    last_mb: float


@dataclass(frozen=True)
class Held:
    """Megabytes of one kind of container, at each time those of the largest."""

    early: float
    end: float
    most: float
    growth: Growth | None


@dataclass
class Memory:
    """Samples of `docker stats`."""

    began: float = field(default_factory=time.time)
    samples: list[tuple[float, Container, float]] = field(default_factory=list)

    async def watch(self, deployment: Deployment) -> None:
        """Sample until cancelled."""
        while True:
            with contextlib.suppress(DeploymentBroken):  # a container went while it was asked
                await self._sample(deployment)
            await asyncio.sleep(_EVERY_S)

    async def _sample(self, deployment: Deployment) -> None:
        shown = await deployment.run("docker", "stats", "--no-stream", "--format", _FORMAT)
        used = dict(line.split()[:2] for line in shown.splitlines())
        now = time.time()
        for container in await deployment.containers():
            if (text := used.get(container.host, _GONE)) != _GONE:
                self.samples.append((now, container, megabytes(text)))

    def kinds(self, early_s: float) -> dict[str, Held]:
        """Sum up, by kind; `early` is what was held so many seconds after the beginning."""
        by_kind = defaultdict(list)
        for sample in self.samples:
            by_kind[sample[1].service].append(sample)
        return {kind: _held(by_kind[kind], self.began + early_s) for kind in sorted(by_kind)}


_GONE = "--"
_FORMAT = "{{.ID}} {{.MemUsage}}"
_Samples = Sequence[tuple[float, Container, float]]


def megabytes(text: str) -> float:
    """Read what `docker stats` writes, such as 104.9MiB."""
    number = text.rstrip("kKMGiB")
    return float(number) * _MB[text[len(number) :]]


def _held(samples: _Samples, early: float) -> Held:
    def around(moment: float) -> float:
        nearest = min((at for at, _, _ in samples), key=lambda at: abs(at - moment))
        return max(mb for at, _, mb in samples if at == nearest)

    return Held(
        early=round(around(early)),
        end=round(around(samples[-1][0])),
        most=round(max(mb for _, _, mb in samples)),
        growth=_growth(samples),
    )


def _growth(samples: _Samples) -> Growth | None:
    lives = defaultdict(list)
    for at, container, mb in samples:
        lives[container.id, container.started].append((at, mb))
    warm = [[one for one in life if one[0] >= life[0][0] + _WARM_S] for life in lives.values()]
    longest = max(warm, key=_lasted)
    if len(longest) < 2:
        return None
    return Growth(round(_lasted(longest) / 60, 1), round(longest[0][1]), round(longest[-1][1]))


def _lasted(life: Iterable[tuple[float, float]]) -> float:
    times = [at for at, _ in life]
    return max(times, default=0) - min(times, default=0)
