"""Run migrations: from the command line on the settings' database, or on a connection given."""

from alembic import context
from sqlalchemy import Connection

from shared.dialects import sync_engine
from shared.settings import load_settings
from shared.tables import Base


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    engine = sync_engine(load_settings(), name="migrate")
    with engine.begin() as connection:
        _migrate(connection)
    engine.dispose()
