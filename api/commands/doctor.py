"""`python -m api doctor`: what is wrong with a configuration, and what to do about it.

It reads settings, connects to what they name, and changes nothing.
"""

import resource
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from shared.dialects import Dialect, dialect_of, sync_engine
from shared.errors import SettingsError
from shared.schema import current_revision, is_outdated
from shared.settings import Settings, load_settings
from shared.store import diagnosis
from shared.version import VERSION

_FILES = 4096
_SKEW_S = 2.0
_CONNECT_S = 3.0


@dataclass(frozen=True)
class Finding:
    """The finding of one check; with `advice` it is a problem."""

    subject: str
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        state = "problem" if self.advice else "ok"
        return f"{state:8} {self.subject}: {self.detail}" + (
            f" -> {self.advice}" * bool(self.advice)
        )


def main() -> int:
    """Print a line for each finding; return 1 if one is a problem."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(Finding("settings", str(error), "set it right and ask again"))  # noqa: T201
        return 1
    found = list(examine(settings))
    for finding in found:
        print(finding)  # noqa: T201 -- for a person
    return int(any(finding.advice for finding in found))


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at one thing after the other; nothing that is away stops it."""
    kind = "one process" if settings.embedded else "processes on any number of hosts"
    yield Finding("settings", f"{kind}, {settings.dialect}, model {settings.default_model}")
    yield _data_folder(settings)
    yield _open_files(settings)
    yield from _database(settings)
    yield _broker(settings)
    if settings.openai_base_url:
        yield _model_server(settings.openai_base_url)


def _data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir.absolute()
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            return Finding(
                "data folder", f"{folder} can be {'written' if there == folder else 'made'}"
            )
    except OSError as error:
        advice = "set VIBECODER_DATA_DIR to a folder that this user may write, on a disk with room"
        return Finding("data folder", f"{folder}: {error.strerror}", advice)


def _open_files(settings: Settings) -> Finding:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"at most {limit} at once; each waiting client takes one"
    if settings.embedded or limit >= _FILES:
        return Finding("open files", detail)
    return Finding("open files", detail, "raise it where the service is started: ulimit -n 65536")


def _database(settings: Settings) -> Iterator[Finding]:
    dialect = dialect_of(settings)
    if dialect.is_missing(settings):
        yield Finding("database", f"{settings.database_location} is made at the first start")
        return
    engine = sync_engine(settings, name="doctor")
    try:
        with engine.connect() as db:
            yield from _inside(db, dialect, settings)
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        yield Finding("database", reason, "check VIBECODER_DATABASE_URL, and that its server runs")
    finally:
        engine.dispose()


def _inside(db: Connection, dialect: Dialect, settings: Settings) -> Iterator[Finding]:
    version = db.dialect.server_version_info or ()
    name = f"{settings.dialect} {'.'.join(map(str, version))}"
    yield Finding("database", name, dialect.advice(db))
    skew = time.time() - diagnosis.now(db)
    advice = "let both hosts keep time (NTP)" if abs(skew) > _SKEW_S else ""
    yield Finding("clock", f"this host is {skew:+.1f} s from the database", advice)
    schema = current_revision(db)
    if is_outdated(schema):
        detail = f"{schema or 'missing'}, which is older than this version's"
        if settings.embedded:
            yield Finding("schema", f"{detail}; the next start upgrades it")
        else:
            yield Finding("schema", detail, "run `alembic upgrade head`")
        return
    yield Finding("schema", f"{schema}")
    workers = diagnosis.living_workers(db)
    yield from _workers(workers, settings)
    yield from _connections(diagnosis.most_connections(db), len(workers) + 1, settings)


def _workers(workers: Sequence[diagnosis.WorkerSeen], settings: Settings) -> Iterator[Finding]:
    command = "start some: python -m worker"
    if not workers and settings.embedded:
        yield Finding("workers", "the service brings its own, and does not run")
    elif not workers:
        yield Finding("workers", "none is alive, so nothing is answered", command)
    for worker in workers:
        detail = f"{worker.host} pid {worker.pid}, version {worker.version}, "
        detail += f"{worker.running} of {worker.slots} slots in use"
        other = worker.version != VERSION
        advice = f"this is version {VERSION}: finish the upgrade" if other else ""
        yield Finding("worker", detail, advice)


def _connections(most: int | None, processes: int, settings: Settings) -> Iterator[Finding]:
    if most is None:
        return
    wanted = processes * (settings.database_pool + 1)
    detail = f"up to {wanted} for one API process and the living workers, the server takes {most}"
    short = "raise max_connections, or lower VIBECODER_DATABASE_POOL"
    yield Finding("connections", detail, short if wanted > most else "")


def _broker(settings: Settings) -> Finding:
    if settings.redis_url is None:
        return Finding("broker", "inside the process")
    try:
        with Redis.from_url(
            settings.redis_url, socket_timeout=_CONNECT_S, socket_connect_timeout=_CONNECT_S
        ) as redis:
            info = redis.info()
    except (RedisError, OSError) as error:
        return Finding("broker", str(error), "check VIBECODER_REDIS_URL, and that its server runs")
    detail = f"redis {info['redis_version']}"
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        detail += f" that evicts ({info['maxmemory_policy']}): tasks would be lost"
        return Finding("broker", detail, "set maxmemory-policy noeviction")
    return Finding("broker", detail)


def _model_server(url: str) -> Finding:
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        host, _, port = place.rpartition(":")
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            "model server", f"{place}: {reason}", "check OPENAI_BASE_URL and the way there"
        )
    return Finding("model server", f"{place} takes connections; nothing was sent to it")
