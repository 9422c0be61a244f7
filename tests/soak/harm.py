"""What is done to the deployment while it works, one thing after the other, and when."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.soak.deployment import Container, Deployment

AFTER_S = 10.0
"""How long a fault is felt after everything is healthy again: a lease and a sweep, and a margin."""
_STOPPED_S = 5.0
_LONGEST_PAUSE_S = 75.0
_CRASH = "kill -KILL $(cat /proc/1/task/1/children)"


@dataclass(frozen=True)
class Harm:
    """One thing that was done; times by this host's clock, which the containers share."""

    what: str
    began: float
    ended: float
    """When every container of that kind was healthy again."""
    host: str = ""
    """The container that was harmed."""

    @property
    def seconds(self) -> float:
        """Return how long it took until all was well."""
        return self.ended - self.began

    def felt(self, began: float, ended: float) -> bool:
        """Tell whether a span of time meets this, or its echo."""
        return began < self.ended + AFTER_S and ended > self.began


class Harms:
    """A worker killed again and again; in between, once each: the API, Redis, then everything."""

    def __init__(self, deployment: Deployment) -> None:
        self.done: list[Harm] = []
        self._deployment = deployment
        self._kills = 0

    async def run(self, seconds: float) -> None:
        """Do harm for so long, with a pause before each, and one at the end."""
        pause = min(_LONGEST_PAUSE_S, max(15, seconds / 12))
        began = time.monotonic()
        once = [(1 / 6, self._crash_api), (1 / 3, self._restart_redis), (1 / 2, self._upgrade)]
        while True:
            await asyncio.sleep(pause)
            passed = time.monotonic() - began
            if passed > seconds - pause:
                break
            if once and passed > once[0][0] * seconds:
                await once.pop(0)[1]()
            else:
                await self._kill_worker()
        if once:
            print(f"there was no time for {len(once)} of the things to do once", flush=True)

    async def _kill_worker(self) -> None:
        """Kill one by turns as a crash does and as `docker kill` does, but never the oldest.

        Its memory is watched over the whole time.
        """
        workers = await self._deployment.containers("worker")
        victim = random.choice(workers[1:] or workers)
        self._kills += 1
        if self._kills % 2:
            await self._harm("worker crashed", self._crash, victim)
        else:
            await self._harm("worker killed by docker", self._docker_kill, victim)

    async def _crash_api(self) -> None:
        [api, *_] = await self._deployment.containers("api")
        await self._harm("API crashed", self._crash, api)

    async def _restart_redis(self) -> None:
        [redis] = await self._deployment.containers("redis")
        await self._harm("Redis restarted", self._restart, redis)

    async def _upgrade(self) -> None:
        before = await self._services("api", "worker")
        began = time.time()
        await self._deployment.run("bash", "deploy/upgrade.sh")
        self._note(Harm("everything upgraded", began, time.time()))
        after = await self._services("api", "worker")
        if before & after or len(before) != len(after):
            raise AssertionError(f"the upgrade made {after} of {before}")

    async def _services(self, *services: str) -> set[str]:
        return {c.id for c in await self._deployment.containers() if c.service in services}

    async def _harm(
        self, what: str, harm: Callable[[Container], Awaitable[object]], victim: Container
    ) -> None:
        began = time.time()
        await harm(victim)
        await self._deployment.wait_well(
            lambda one: one.well and (one.id != victim.id or one.started != victim.started),
            victim.service,
        )
        self._note(Harm(what, began, time.time(), victim.host))

    def _note(self, harm: Harm) -> None:
        self.done.append(harm)
        moment = time.strftime("%H:%M:%S")
        print(f"  {moment}  {harm.what}, well again after {harm.seconds:.0f} s", flush=True)

    async def _crash(self, container: Container) -> None:
        """Kill the process below the container's init: the restart policy brings it back."""
        await self._deployment.run("docker", "exec", container.id, "sh", "-c", _CRASH)

    async def _docker_kill(self, container: Container) -> None:
        """Kill the container: to Docker that is a stop by its operator, who starts it again."""
        await self._deployment.run("docker", "kill", "--signal", "KILL", container.id)
        await asyncio.sleep(_STOPPED_S)
        await self._deployment.run("docker", "start", container.id)

    async def _restart(self, container: Container) -> None:
        await self._deployment.compose("restart", container.service)


def felt(harms: Sequence[Harm], began: float, ended: float) -> bool:
    """Tell whether any harm is felt in a span of time."""
    return any(harm.felt(began, ended) for harm in harms)
