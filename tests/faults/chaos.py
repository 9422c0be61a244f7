"""Random kills of workers, API processes and Redis, each started again a little later."""

import random
import signal
import time
from collections import Counter

from tests.faults.cluster import Cluster
from tests.services import ApiProcess, RedisServer, WorkerProcess

_PAUSE_S = (2.0, 6.0)
_REDIS_AWAY_S = (0.0, 5.0)
_FROZEN_S = (1.0, 9.0)


class Chaos:
    """Do harm for a time; then everything runs again.

    In the thread that started the processes: they are tethered to it, and would end with another.
    """

    def __init__(self, cluster: Cluster, redis: RedisServer, *, seed: int) -> None:
        self._cluster = cluster
        self._redis = redis
        self._random = random.Random(f"chaos {seed}")
        self.done: Counter[str] = Counter()
        self.killed: dict[int, float] = {}
        """When which worker was killed, or held so long that its lease ran out."""
        self.times: list[float] = []
        """When any harm began, and when it was over."""

    def run(self, *, until: float) -> None:
        """Harm, wait, harm; at the end wait until every process is ready."""
        harms = [self._kill_worker, self._kill_api, self._kill_redis, self._freeze_worker]
        while True:
            pause = self._random.uniform(*_PAUSE_S)
            if time.monotonic() + pause > until:
                break
            time.sleep(pause)
            (harm,) = self._random.choices(harms, weights=[5, 3, 1.5, 1])
            self.times.append(time.time())
            harm()
            self.times.append(time.time())
            self.done[harm.__name__.removeprefix("_").replace("_", " ")] += 1
        for service in (*self._cluster.workers, *self._cluster.apis):
            service.wait_ready()

    def _kill_worker(self) -> None:
        worker: WorkerProcess = self._random.choice(self._cluster.workers)
        self.killed[worker.pid] = time.time()
        worker.kill()
        worker.launch()

    def _kill_api(self) -> None:
        api: ApiProcess = self._random.choice(self._cluster.apis)
        api.kill()
        api.launch()

    def _kill_redis(self) -> None:
        self._redis.kill()
        time.sleep(self._random.uniform(*_REDIS_AWAY_S))
        self._redis.start()

    def _freeze_worker(self) -> None:
        """Hold a worker as a host that stalls does; past its lease it has lost what it runs."""
        worker: WorkerProcess = self._random.choice(self._cluster.workers)
        self.killed[worker.pid] = time.time()
        worker.send_signal(signal.SIGSTOP)
        time.sleep(self._random.uniform(*_FROZEN_S))
        worker.send_signal(signal.SIGCONT)
