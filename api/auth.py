"""Who may: every request is somebody's, and is let in before anything else is done for it."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.keyring import Keyring
from api.rate_limit import RateLimit
from shared.database import Database
from shared.errors import KeyRequired, RoleInsufficient, SettingsError
from shared.settings import Settings, is_loopback
from shared.store import keys
from shared.tables import Role

OPEN = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""What is answered to everybody: it tells of the service, and nothing that anybody owns."""

_OPEN_BELOW = ("/console/", "/problems/")
_READING = {"GET", "HEAD", "OPTIONS"}
_ANONYMOUS = "anonymous"
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d*)?")


@dataclass(frozen=True)
class Identity:
    """Who calls: whose things they see, what they may do; `key` is the name of their key."""

    owner: str
    role: Role
    key: str | None = None


def is_open(path: str) -> bool:
    """Tell whether a path is answered without asking who calls."""
    return path in OPEN or path.startswith(_OPEN_BELOW)


class Door:
    """Decides who calls, and whether so often."""

    def __init__(self, settings: Settings, database: Database, rate_limit: RateLimit) -> None:
        async def read() -> list[keys.KnownKey]:
            async with database.read() as db:
                return list(await keys.listing(db))

        self._settings = settings
        self._keyring = Keyring(read)
        self._rate_limit = rate_limit

    async def admit(self, scope: Scope) -> Identity:
        """Tell who calls.

        Raises:
            KeyRequired: nobody that is known.
            RoleInsufficient: somebody who may only read.
            RateLimited: somebody who has been here too often.
        """
        headers = Headers(scope=scope)
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            identity = await self._anonymous(scope, headers)
            client = scope.get("client")
            await self._rate_limit.count(f"address {client[0] if client else ''}")
            return identity
        key = await self._keyring.find(text.strip())
        if key is None:
            raise KeyRequired("This key is not valid: it is unknown, was revoked or has expired.")
        await self._rate_limit.count(f"key {key.id}")
        if key.role is Role.READ and scope["method"] not in _READING:
            raise RoleInsufficient("This key may only read: take one of the role `write`.")
        return Identity(key.owner, key.role, key.name)

    async def require_protection(self) -> None:
        """Refuse to serve a network to which nobody could show a key.

        Raises:
            SettingsError: with what to do.
        """
        settings = self._settings
        said = settings.anonymous is not None or settings.publish is not None
        if said or settings.on_loopback or await self._keyring.any_ever():
            return
        raise SettingsError(
            f"VIBECODER_HOST={settings.host} is not loopback and there are no API keys: make one "
            "with `python -m api keys create NAME`, set VIBECODER_ANONYMOUS=true if everyone who "
            "reaches it may use it, or bind 127.0.0.1."
        )

    async def _anonymous(self, scope: Scope, headers: Headers) -> Identity:
        any_keys = await self._keyring.any_ever()
        allowed = self._settings.anonymous
        if allowed is None:
            inside = self._settings.publish is not None  # of a container: nobody comes on loopback
            local = self._settings.on_loopback and (inside or _came_on_loopback(scope))
            allowed = local and not any_keys
        if not allowed:
            raise KeyRequired(
                "Send a key: `Authorization: Bearer vck_...`. The operator of this service makes "
                "one with `python -m api keys create NAME`."
            )
        host = _host(headers)
        if not _is_own_name(host, scope) and host not in self._settings.allowed_hosts:
            raise KeyRequired(
                "Without a key this service answers only under a loopback name or its own address. "
                "Send a key, or let the operator add the host to VIBECODER_ALLOWED_HOSTS."
            )
        # where there are no keys, who reaches the service is also its operator
        return Identity(_ANONYMOUS, Role.WRITE if any_keys else Role.ADMIN)


def _came_on_loopback(scope: Scope) -> bool:
    """Tell whether a connection came in on loopback: `uvicorn --host` binds what it wants to."""
    address = _address(scope)
    return is_loopback(address) or not _is_address(address)


def _is_own_name(host: str, scope: Scope) -> bool:
    """Tell whether a request names this machine, as no page elsewhere can.

    A page can give its own domain this machine's address, and then read what is served to
    everybody here; also a name without a dot, by the search list of the machine's resolver.
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
    """ASGI middleware: no request reaches a route, and no body is read, before it is let in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            door: Door = scope["app"].state.services.door
            scope["state"]["identity"] = await door.admit(scope)
        await self._app(scope, receive, send)
