"""The channels on which processes tell each other of messages: ids only, to whoever listens.

Pub/sub loses what is published while a listener reconnects. That is fine: listeners ask the
database after each connection, so the channel only makes answers fast.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from importlib import import_module
from typing import Any, cast
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from shared.logging import get_logger
from shared.settings import Settings

_RECONNECT_S = 0.5
_PING_S = 5.0
_log = get_logger(__name__)
_embedded_servers: dict[str, Any] = {}


class Topic(StrEnum):
    """A kind of news about a message; each has a channel of its own."""

    ENDED = "ended"
    """It ended."""
    EVENTS = "events"
    """There are new ones, of a message that is watched."""
    STOPPED = "stopped"
    """It ended while a worker ran it, which need not go on."""
    WATCHED = "watched"
    """Somebody began to watch it: its worker should report."""


class Channel:
    """Publish and hear message ids, on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.namespace}:"
        self.redis = _connect(settings)

    async def publish(self, topic: Topic, message_ids: Iterable[UUID]) -> None:
        """Tell every listener; say so when that is impossible.

        What is lost costs a listener the time until it asks the database.
        """
        ids = [str(message_id) for message_id in message_ids]
        if not ids:
            return
        try:
            async with asyncio.timeout(1):
                await self.redis.publish(self._prefix + topic, " ".join(ids))
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("ids not published, listeners will ask", topic=topic, error=repr(error))

    async def listen(self, *topics: Topic) -> AsyncIterator[tuple[Topic, list[UUID]]]:
        """Yield ids as they come, for ever, over one connection.

        With no ids at all after each (re)subscription: what was published meanwhile is lost.
        """
        while True:
            try:
                async for heard in self._subscription(topics):
                    yield heard
            except (RedisError, OSError) as error:
                _log.info("channel lost, connecting again", error=repr(error))
            await asyncio.sleep(_RECONNECT_S)

    async def _subscription(
        self, topics: Sequence[Topic]
    ) -> AsyncIterator[tuple[Topic, list[UUID]]]:
        async with self.redis.pubsub() as pubsub:
            await pubsub.subscribe(*(self._prefix + topic for topic in topics))
            while True:
                message = await pubsub.get_message(timeout=_PING_S)
                match message:
                    case None:
                        await pubsub.ping()  # a silent connection may be a dead one
                    case {"type": "subscribe", "channel": name}:
                        yield self._topic(name), []
                    case {"type": "message", "channel": name, "data": data}:
                        topic = self._topic(name)
                        if ids := _ids_of(topic, data):
                            yield topic, ids

    def _topic(self, name: bytes) -> Topic:
        return Topic(name.decode().removeprefix(self._prefix))

    async def ping(self) -> bool:
        """Tell whether the server answers."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self.redis.ping()
                return True
        return False

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()


def _ids_of(topic: Topic, data: bytes) -> list[UUID]:
    """Read the ids of a notification; drop malformed ones: anybody at Redis may publish."""
    ids: list[UUID] = []
    malformed = 0
    for text in data.split():
        try:
            ids.append(UUID(text.decode()))
        except ValueError:
            malformed += 1
    if malformed:
        _log.warning("malformed ids on a channel, dropped", topic=topic, dropped=malformed)
    return ids


def _connect(settings: Settings) -> Redis:
    if settings.redis_url is None:
        fakeredis = import_module("fakeredis")  # not above: with a real Redis nobody needs it
        server = _embedded_servers.setdefault(settings.namespace, fakeredis.FakeServer())
        return cast("Redis", fakeredis.FakeAsyncRedis(server=server))
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=20,
        socket_connect_timeout=2,
        socket_timeout=_PING_S * 2,
        socket_keepalive=True,
    )
    return Redis.from_pool(pool)
