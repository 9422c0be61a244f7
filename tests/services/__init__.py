"""Real services as child processes on free loopback ports: Redis, PostgreSQL, API, workers.

Each is a context manager, writes its output to a file (`log`) and can be stopped, killed and
started again on the same port with the same data. None outlives the test run.
"""

from tests.services.application import (
    ApiProcess,
    EmbeddedService,
    WorkerProcess,
    make_schema,
    migrate,
)
from tests.services.process import (
    ROOT,
    Service,
    clean_environment,
    free_port,
    terminate_all,
    wait_until,
)
from tests.services.servers import PostgresServer, RedisServer

__all__ = [
    "ROOT",
    "ApiProcess",
    "EmbeddedService",
    "PostgresServer",
    "RedisServer",
    "Service",
    "WorkerProcess",
    "clean_environment",
    "free_port",
    "make_schema",
    "migrate",
    "terminate_all",
    "wait_until",
]
