"""Celery's connection to its broker, where its own ways do not suit hints."""

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import redis


class _Broker(Connection):
    """A connection that is tried every second while the broker is away, however long that is.

    By itself Celery waits longer each time, up to 30 s, and every message would with it.
    """

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        every_second = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
        return super()._ensure_connection(*args, **options | every_second)  # type: ignore[no-untyped-call]

    def get_transport_cls(self) -> Any:
        found = super().get_transport_cls()  # type: ignore[no-untyped-call]
        return _Redis if found is redis.Transport else found


class _Unacknowledged(redis.Channel):
    def basic_ack(self, *_: Any, **__: Any) -> None:
        """Do nothing: `no_ack` keeps no record of a hint, and Celery would delete that record."""


class _Redis(redis.Transport):
    Channel = _Unacknowledged


class Amqp(AMQP):  # type: ignore[misc]
    """Celery's way to the broker, over the above."""

    Connection = _Broker
