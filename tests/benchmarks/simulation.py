"""The service as queues at cores and slots, with random arrivals and measured service times."""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

Life = Generator[tuple["Station | None", float], None, None]
"""What a message goes through: a station, or only time, and for how many seconds."""

_SPREAD = 0.5  # of the model's time: the sigma of a lognormal


@dataclass(frozen=True)
class Slice:
    """A service, or a part of one: arrivals a second, processes, and seconds a message in each."""

    rate: float
    apis: int
    workers: int
    slots: int
    """Of each worker."""
    postgres: int
    """Cores."""
    api_s: float
    worker_s: float
    postgres_s: float
    model_s: float


@dataclass(frozen=True)
class Observed:
    """What was seen: how busy the cores were, and what the service added to the model's time."""

    api: float
    worker: float
    postgres: float
    added_s: Sequence[float]
    waited: float
    """The part of all messages that found no free slot."""


@dataclass
class Station:
    """Cores that serve who comes, in the order of arrival."""

    clock: "Clock"
    cores: int
    busy: int = 0
    waiting: deque[tuple[float, Callable[[], None]]] = field(default_factory=deque)
    used_s: float = 0

    def serve(self, seconds: float, then: Callable[[], None]) -> None:
        """Serve for so long as soon as a core is free."""
        if self.busy == self.cores:
            self.waiting.append((seconds, then))
            return
        self.busy += 1
        self.used_s += seconds
        self.clock.after(seconds, lambda: self._done(then))

    def _done(self, then: Callable[[], None]) -> None:
        self.busy -= 1
        if self.waiting:
            self.serve(*self.waiting.popleft())
        then()


class Clock:
    """What happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), then))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= until:
            self.now, _, then = heapq.heappop(self._due)
            then()


class _Service:
    def __init__(self, part: Slice, seed: int) -> None:
        self.part = part
        self.clock = Clock()
        self.random = random.Random(seed)
        self.apis = [Station(self.clock, 1) for _ in range(part.apis)]
        self.workers = [Station(self.clock, 1) for _ in range(part.workers)]
        self.postgres = Station(self.clock, part.postgres)
        # as workers ask for hints: who has waited longest gets the next one
        self.free = deque(self.workers * part.slots)
        self.hints: deque[Callable[[Station], None]] = deque()
        self.added: list[float] = []
        self.hinted = self.waited = 0

    def arrive(self) -> None:
        """Let a message come, and the next one some time later."""
        self.clock.after(self.random.expovariate(self.part.rate), self.arrive)
        came, api = self.clock.now, self.random.choice(self.apis)
        model_s = self.random.lognormvariate(math.log(self.part.model_s) - _SPREAD**2 / 2, _SPREAD)

        def finish(worker: Station) -> None:
            self._release(worker)
            self._go(self._answer(api), lambda: self.added.append(self.clock.now - came - model_s))

        def run(worker: Station) -> None:
            self._go(self._run(worker, model_s), lambda: finish(worker))

        self._go(self._accept(api), lambda: self._hint(run))

    def _accept(self, api: Station) -> Life:
        yield api, self._random(self.part.api_s / 2)
        yield self.postgres, self._random(self.part.postgres_s / 3)

    def _run(self, worker: Station, model_s: float) -> Life:
        yield self.postgres, self._random(self.part.postgres_s / 3)
        yield worker, self._random(self.part.worker_s / 2)
        yield None, model_s
        yield worker, self._random(self.part.worker_s / 2)
        yield self.postgres, self._random(self.part.postgres_s / 3)

    def _answer(self, api: Station) -> Life:
        yield api, self._random(self.part.api_s / 2)

    def _random(self, mean: float) -> float:
        return self.random.expovariate(1 / mean)

    def _go(self, life: Life, then: Callable[[], None]) -> None:
        step = next(life, None)
        if step is None:
            then()
            return
        station, seconds = step
        if station is None:
            self.clock.after(seconds, lambda: self._go(life, then))
        else:
            station.serve(seconds, lambda: self._go(life, then))

    def _hint(self, run: Callable[[Station], None]) -> None:
        self.hinted += 1
        if self.free:
            run(self.free.popleft())
        else:
            self.waited += 1
            self.hints.append(run)

    def _release(self, worker: Station) -> None:
        if self.hints:
            self.hints.popleft()(worker)
        else:
            self.free.append(worker)


def simulate(part: Slice, *, warm_up_s: float, seconds: float, seed: int = 1) -> Observed:
    """Let messages come for so long; what happens during the warm-up does not count."""
    service = _Service(part, seed)
    service.arrive()
    service.clock.run(warm_up_s)
    groups = (service.apis, service.workers, [service.postgres])
    before = [sum(station.used_s for station in group) for group in groups]
    service.added.clear()
    service.hinted = service.waited = 0
    service.clock.run(warm_up_s + seconds)
    api, worker, postgres = (
        (sum(station.used_s for station in group) - earlier)
        / (seconds * sum(station.cores for station in group))
        for group, earlier in zip(groups, before, strict=True)
    )
    return Observed(api, worker, postgres, service.added, service.waited / service.hinted)
