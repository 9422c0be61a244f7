"""The channel on which ended messages are announced: ids only, to whoever listens.

Pub/sub loses what is published while a listener reconnects. That is fine: listeners ask the
database after each connection, so the channel only makes answers fast.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from uuid import UUID

import fakeredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from shared.logging import get_logger
from shared.settings import Settings

_RECONNECT_S = 0.5
_PING_S = 5.0
_log = get_logger(__name__)
_embedded_servers: dict[str, fakeredis.FakeServer] = {}


class Channel:
    """Publish and hear ended message ids, on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._name = f"{settings.namespace}:ended"
        self._redis = _connect(settings)

    async def publish(self, ended: Iterable[UUID]) -> None:
        """Tell every listener that these messages ended; say so when that is impossible.

        A lost announcement costs a listener the time until it asks the database.
        """
        ids = [str(message_id) for message_id in ended]
        if not ids:
            return
        try:
            async with asyncio.timeout(1):
                await self._redis.publish(self._name, " ".join(ids))
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("ended ids not published, listeners will ask", error=repr(error))

    async def listen(self) -> AsyncIterator[list[UUID]]:
        """Yield ended ids as they come, for ever; an empty list after each (re)subscription."""
        while True:
            try:
                async for ids in self._subscription():
                    yield ids
            except (RedisError, OSError) as error:
                _log.info("channel lost, connecting again", error=repr(error))
            await asyncio.sleep(_RECONNECT_S)

    async def _subscription(self) -> AsyncIterator[list[UUID]]:
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._name)
            while True:
                message = await pubsub.get_message(timeout=_PING_S)
                match message:
                    case None:
                        await pubsub.ping()  # a silent connection may be a dead one
                    case {"type": "subscribe"}:
                        yield []
                    case {"type": "message", "data": data}:
                        yield [UUID(text) for text in data.decode().split()]

    async def ping(self) -> bool:
        """Tell whether the server answers."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._redis.ping()
                return True
        return False

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _connect(settings: Settings) -> Redis:
    if settings.redis_url is None:
        server = _embedded_servers.setdefault(settings.namespace, fakeredis.FakeServer())
        return fakeredis.FakeAsyncRedis(server=server)
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=20,
        socket_connect_timeout=2,
        socket_timeout=_PING_S * 2,
        socket_keepalive=True,
    )
    return Redis.from_pool(pool)
