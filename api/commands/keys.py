"""`python -m api keys create | list | revoke`: who may call, seen to at the database itself."""

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from shared.database import Database
from shared.errors import SettingsError
from shared.schema import migrate, require_schema
from shared.settings import Settings
from shared.store import keys
from shared.store.keys import KnownKey
from shared.tables import Role

_LIFETIME = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_NAME = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_COLUMNS = ("id", "name", "owner", "role", "made", "expires", "state")


def run(arguments: Sequence[str], settings: Settings) -> None:
    """Do what the arguments say, and print what came of it.

    Raises:
        SettingsError: there is no such key.
        SchemaOutdated, ServiceUnavailable: the database is not as it must be.
    """
    options = _parser().parse_args(arguments)
    if settings.embedded:
        migrate(settings)
    else:
        require_schema(settings)
    asyncio.run(_run(options, settings))


async def _run(options: argparse.Namespace, settings: Settings) -> None:
    database = Database(settings, name="keys")
    try:
        match options.verb:
            case "create":
                await _create(database, options)
            case "list":
                await _list(database)
            case _:
                await _revoke(database, options.id)
    finally:
        await database.close()


async def _create(database: Database, options: argparse.Namespace) -> None:
    owner = options.owner or options.name
    async with database.begin() as db:
        key = await keys.create(
            db, name=options.name, owner=owner, role=Role(options.role), lasts_s=options.expires
        )
    print(key)  # alone on standard output, for scripts
    _tell(
        f"This is the only time that it is shown. Role {options.role}, owner {owner}.\n"
        "From now on every request needs a key, unless VIBECODER_ANONYMOUS=true."
    )


async def _list(database: Database) -> None:
    async with database.read() as db:
        found = await keys.listing(db)
    if not found:
        _tell("There are no keys yet: python -m api keys create NAME")
        return
    rows = [_COLUMNS, *(_row(key) for key in found)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


async def _revoke(database: Database, key_id: str) -> None:
    async with database.begin() as db:
        if not await keys.revoke(db, key_id):
            raise SettingsError(f"There is no key {key_id}: `python -m api keys list` shows all.")
    _tell(f"The key {key_id} is revoked; within 5 seconds no API process takes it any more.")


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _row(key: KnownKey) -> tuple[str, ...]:
    state = "revoked" if key.revoked_at else "valid" if key.valid else "expired"
    expires = "never" if key.expires_at is None else _day(key.expires_at)
    return (key.id, key.name, key.owner, key.role, _day(key.created_at), expires, state)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m api", description="Without arguments: serve, as the settings say."
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="{doctor,keys}")
    commands.add_parser("doctor", help="what is wrong with a configuration, and what to do")
    verbs = commands.add_parser("keys", help="who may call")
    verb = verbs.add_subparsers(dest="verb", required=True)
    create = verb.add_parser("create", help="make a key and show it, once")
    create.add_argument("name", type=_name, help="what people call it")
    create.add_argument("--owner", type=_name, help="whose things it sees (default: NAME)")
    roles = [role.value for role in Role]
    create.add_argument("--role", choices=roles, default=Role.WRITE.value, help="default: write")
    create.add_argument(
        "--expires", type=_lifetime, metavar="90d", help="when it ends: 30m, 12h, 90d (or never)"
    )
    verb.add_parser("list", help="list all keys, without what is secret in them")
    revoke = verb.add_parser("revoke", help="end a key")
    revoke.add_argument("id", help="as in the list: the 16 digits after `vck_`")
    return parser


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("1 to 200 printable ASCII characters, please")
    return text


def _lifetime(text: str) -> float:
    found = _LIFETIME.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("a number of minutes, hours or days: 30m, 12h, 90d")
    return int(found[1]) * _SECONDS[found[2]]
