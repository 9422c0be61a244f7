"""events of a message while it is answered, and their numbers"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_events_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", "seq", name=op.f("pk_events")),
    )
    # with defaults in the database: processes of the version before go on inserting
    count = sa.Column("event_count", sa.Integer(), server_default="1", nullable=False)
    op.add_column("messages", count)
    op.add_column(
        "messages",
        sa.Column("streamed", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("attempts", sa.Column("event", sa.Integer(), nullable=True))
    # what happened before had no numbers: queued, each attempt, the end
    op.execute("UPDATE attempts SET event = number + 1")
    op.execute(
        "UPDATE messages SET event_count = 1 + attempt + "
        "CASE WHEN status IN ('queued', 'in_progress') THEN 0 ELSE 1 END"
    )


def downgrade() -> None:
    op.drop_column("attempts", "event")
    op.drop_column("messages", "streamed")
    op.drop_column("messages", "event_count")
    op.drop_table("events")
