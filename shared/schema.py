"""The database's schema: bring it up to date, or refuse to run on an older one."""

from functools import cache
from importlib import import_module
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from shared.dialects import sync_engine
from shared.errors import SchemaOutdated, ServiceUnavailable
from shared.settings import Settings

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(settings: Settings) -> None:
    """Upgrade the settings' database to this code's schema."""
    # not above: a process whose schema is up to date does without Alembic's ten megabytes
    command = import_module("alembic.command")
    config = import_module("alembic.config").Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = sync_engine(settings, name="migrate")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def require_schema(settings: Settings) -> None:
    """Check that the schema is this code's or a newer one; migrations stay compatible for one step.

    Raises:
        SchemaOutdated: with the command that upgrades it.
        ServiceUnavailable: the database cannot be reached.
    """
    engine = sync_engine(settings, name="schema")
    try:
        with engine.connect() as connection:
            found = current_revision(connection)
    except OperationalError as error:
        raise ServiceUnavailable(
            "The database cannot be reached: check VIBECODER_DATABASE_URL, and that its server "
            f"runs ({str(error.orig).strip().splitlines()[0]})."
        ) from None
    finally:
        engine.dispose()
    if is_outdated(found):
        raise SchemaOutdated(
            f"The database's schema is {found or 'missing'}, this version needs {_known()[0]}: "
            "run `alembic upgrade head` first."
        )


def is_outdated(found: str | None) -> bool:
    """Tell whether a schema is older than this code's; one that is unknown here is newer."""
    return found is None or found in _known()[1:]


@cache
def _known() -> list[str]:
    """List this code's revisions, the newest first."""
    files = (_MIGRATIONS / "versions").glob("[0-9]*.py")
    return sorted((file.name.partition("_")[0] for file in files), reverse=True)


def current_revision(connection: Connection) -> str | None:
    """Read which migration the database is at."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
