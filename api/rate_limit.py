"""The limit of requests a minute: counted in Redis, so that all API processes count together."""

import asyncio
import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import RateLimited
from shared.logging import get_logger
from shared.settings import Settings

_TIMEOUT_S = 0.5
_log = get_logger(__name__)


class RateLimit:
    """At most so many requests in any 60 seconds, or one more: the minute before counts in part.

    Without Redis there is no limit; the queues have limits of their own.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._limit = settings.rate_limit and RateLimitItemPerMinute(settings.rate_limit)
        storage = MemoryStorage() if settings.embedded else _storage(settings, redis)
        self._window = SlidingWindowCounterRateLimiter(storage)

    async def count(self, caller: str) -> None:
        """Count a request.

        Raises:
            RateLimited: it is one too many; it does not count.
        """
        if not self._limit:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if await self._window.hit(self._limit, caller):
                    return
                free_at, _ = await self._window.get_window_stats(self._limit, caller)
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("requests not counted", error=type(error).__name__)
            return
        wait_s = max(math.ceil(free_at - time.time()), 1)
        raise RateLimited(
            f"More than {self._limit.amount} requests a minute. Try again in {wait_s} s.",
            retry_after=wait_s,
        )


def _storage(settings: Settings, redis: Redis) -> RedisStorage:
    return RedisStorage(
        settings.redis_url or "",
        implementation="redispy",
        key_prefix=f"{settings.namespace}:rate",
        connection_pool=redis.connection_pool,  # type: ignore[arg-type] # documented, not annotated
    )
