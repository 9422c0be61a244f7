"""Authentication: every request has a caller before its body is read or a route is reached."""

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.rate_limit import RateLimit
from shared.database import Database
from shared.errors import KeyRequired, RoleInsufficient, SettingsError
from shared.settings import Settings, is_loopback
from shared.store import keys
from shared.store.keys import KnownKey, read_key
from shared.tables import Role

OPEN = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""Paths that need no key: their answers describe the service and hold nothing of an owner."""

_OPEN_BELOW = ("/console/", "/problems/")
KEPT_S = 5.0
"""Age at which the cached keys are read again: a revoked key is valid no longer than this."""
_PAUSE_S = 0.2
_READING = {"GET", "HEAD", "OPTIONS"}
_ANONYMOUS = "anonymous"
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d*)?")


@dataclass(frozen=True)
class Caller:
    """The caller of a request: the owner whose data it sees, its role, the name of its key."""

    owner: str
    role: Role
    key: str | None = None


def is_open(path: str) -> bool:
    """Tell whether a path is answered without authentication."""
    return path in OPEN or path.startswith(_OPEN_BELOW)


class ApiKeyCache:
    """All API keys, read again every few seconds by one statement for all requests that wait.

    So the check of a key costs a request no statement.
    """

    def __init__(self, read: Callable[[], Awaitable[Sequence[KnownKey]]]) -> None:
        self._read = read
        self._keys: dict[str, KnownKey] = {}
        self._any_ever = False
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, text: str) -> KnownKey | None:
        """Return the key if it is valid; None if it is unknown, revoked or expired.

        An unknown key may be newer than the cache, so the request waits for a reading that begins
        later. Readings keep a distance: a client that guesses keys causes no load.
        """
        presented = read_key(text)
        if presented is None:
            return None
        asked = time.monotonic()
        await self._refresh(asked - KEPT_S)
        if presented.key_id not in self._keys:
            await self._refresh(asked)
        known = self._keys.get(presented.key_id)
        same = hmac.compare_digest(known.hash if known else "", presented.hash)
        return known if known and same and known.valid else None

    async def any_ever(self) -> bool:
        """Tell whether a key was ever made, expired and revoked keys included."""
        await self._refresh(time.monotonic() - KEPT_S)
        return self._any_ever

    async def _refresh(self, since: float) -> None:
        """Wait until the keys in the cache were read after a moment of the monotonic clock."""
        while self._read_at < since:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._load())
                self._reading.add_done_callback(_retrieve)
            # a request that is cancelled must not cancel the reading for the others
            await asyncio.shield(self._reading)

    async def _load(self) -> None:
        await asyncio.sleep(self._read_at + _PAUSE_S - time.monotonic())
        began = time.monotonic()
        found = await self._read()
        self._keys = {key.id: key for key in found}
        self._any_ever = bool(found)
        self._read_at = began


def _retrieve(task: asyncio.Task[None]) -> None:
    """Retrieve the exception of a reading whose requests have all gone: asyncio logs it else."""
    if not task.cancelled():
        task.exception()


class Authenticator:
    """Finds the caller of a request and counts the request against the rate limit."""

    def __init__(self, settings: Settings, database: Database, rate_limit: RateLimit) -> None:
        async def read() -> list[keys.KnownKey]:
            async with database.read() as db:
                return list(await keys.listing(db))

        self._settings = settings
        self._allowed_hosts = {host.lower() for host in settings.allowed_hosts}
        self._keys = ApiKeyCache(read)
        self._rate_limit = rate_limit

    async def authenticate(self, scope: Scope) -> Caller:
        """Return the caller of a request.

        Raises:
            KeyRequired: the request has no valid key and needs one.
            RoleInsufficient: the key may only read.
            RateLimited: the caller has sent too many requests.
        """
        headers = Headers(scope=scope)
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            caller = await self._anonymous(scope, headers)
            client = scope.get("client")
            await self._rate_limit.count(f"address {client[0] if client else ''}")
            return caller
        key = await self._keys.find(text.strip())
        if key is None:
            raise KeyRequired("This key is not valid: it is unknown, was revoked or has expired.")
        await self._rate_limit.count(f"key {key.id}")
        if key.role is Role.READ and scope["method"] not in _READING:
            raise RoleInsufficient("This key may only read: take one of the role `write`.")
        return Caller(key.owner, key.role, key.name)

    async def require_keys(self) -> None:
        """Refuse to serve a network without any API key, unless the settings allow it.

        Raises:
            SettingsError: its sentence says what to change.
        """
        settings = self._settings
        said = settings.anonymous is not None or settings.publish is not None
        if said or settings.on_loopback or await self._keys.any_ever():
            return
        raise SettingsError(
            f"VIBECODER_HOST={settings.host} is not loopback and there are no API keys: make one "
            "with `python -m api keys create NAME`, set VIBECODER_ANONYMOUS=true if everyone who "
            "reaches it may use it, or bind 127.0.0.1."
        )

    async def _anonymous(self, scope: Scope, headers: Headers) -> Caller:
        any_keys = await self._keys.any_ever()
        allowed = self._settings.anonymous
        if allowed is None:
            inside = self._settings.publish is not None  # a container has no loopback
            local = self._settings.on_loopback and (inside or _came_on_loopback(scope))
            allowed = local and not any_keys
        if not allowed:
            raise KeyRequired(
                "Send a key: `Authorization: Bearer vck_...`. The operator of this service makes "
                "one with `python -m api keys create NAME`."
            )
        host = _host(headers)
        if not _is_own_name(host, scope) and host not in self._allowed_hosts:
            raise KeyRequired(
                "Without a key this service answers only under a loopback name or its own address. "
                "Send a key, or let the operator add the host to VIBECODER_ALLOWED_HOSTS."
            )
        # without keys, the caller is also the operator
        return Caller(_ANONYMOUS, Role.WRITE if any_keys else Role.ADMIN)


def _came_on_loopback(scope: Scope) -> bool:
    """Tell whether a connection came in on loopback: `uvicorn --host` may bind any address."""
    address = _address(scope)
    return is_loopback(address) or not _is_address(address)


def _is_own_name(host: str, scope: Scope) -> bool:
    """Tell whether a request names this machine, as no page elsewhere can.

    A page can give its own domain this machine's address and then read every answer that needs
    no key; so can a name without a dot, by the search list of the machine's resolver.
    """
    return is_loopback(host) or host.endswith(".localhost") or host == _address(scope)


def _host(headers: Headers) -> str:
    found = _HOST.fullmatch(headers.get("host", "").lower())
    return (found[1] or found[2]) if found else ""


def _address(scope: Scope) -> str:
    server = scope.get("server")
    return server[0] if server else ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Access:
    """ASGI middleware: authenticate a request before its body is read or a route is reached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            authenticator: Authenticator = scope["app"].state.services.authenticator
            scope["state"]["caller"] = await authenticator.authenticate(scope)
        await self._app(scope, receive, send)
