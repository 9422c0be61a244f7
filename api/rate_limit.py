"""How often somebody may call: counted in Redis, so that all API processes count together."""

import asyncio
import math
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import RateLimited
from shared.logging import get_logger

_MINUTE_S = 60
_PATIENCE_S = 0.5
_log = get_logger(__name__)


class RateLimit:
    """At most so many requests in any 60 seconds, or one more: the minute before counts in part.

    Without Redis there is no limit; what waits in the queues is limited all the same.
    """

    def __init__(self, redis: Redis, *, namespace: str, limit: int | None) -> None:
        self._redis = redis
        self._namespace = namespace
        self._limit = limit

    async def count(self, who: str) -> None:
        """Count a request.

        Raises:
            RateLimited: it is one too many; it does not count.
        """
        if self._limit is None:
            return
        minute, seconds = divmod(time.time(), _MINUTE_S)
        # names come again when what they counted has expired: they do not grow in number
        name, before = (f"{self._namespace}:rate:{who}:{(int(minute) - n) % 4}" for n in (0, 1))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                wait_s = await self._wait_s(name, before, seconds)
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("requests not counted", error=type(error).__name__)
            return
        if wait_s > 0:
            raise RateLimited(
                f"More than {self._limit} requests a minute. Try again in {math.ceil(wait_s)} s.",
                retry_after=math.ceil(wait_s),
            )

    async def _wait_s(self, name: str, before: str, seconds: float) -> float:
        assert self._limit is not None
        async with self._redis.pipeline(transaction=False) as pipeline:
            # each of these only adds to what is sent together
            _ = pipeline.incr(name), pipeline.expire(name, 2 * _MINUTE_S), pipeline.get(before)
            now, _, earlier = await pipeline.execute()
        wait_s = until_free(int(earlier or 0), now - 1, seconds, limit=self._limit)
        if wait_s > 0:
            await self._redis.decr(name)
        return wait_s


def until_free(earlier: int, now: int, seconds: float, *, limit: int) -> float:
    """Return after how many seconds one more request is within the limit.

    `earlier` were counted in the minute before, `now` in the `seconds` of this one.
    """
    if now < limit:
        return _share(earlier, limit - now) * _MINUTE_S - seconds
    return (1 + _share(now, limit)) * _MINUTE_S - seconds


def _share(counted: int, allowed: int) -> float:
    """Return how much of a minute must pass until only so many of the minute before count."""
    return 1 - allowed / counted if counted > allowed else 0
