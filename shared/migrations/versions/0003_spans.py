"""the spans of attempts, and messages by their trace"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # nullable: processes of the version before go on inserting attempts without it
    op.add_column("attempts", sa.Column("spans", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(op.f("ix_messages_trace_id"), "messages", ["trace_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_messages_trace_id"), table_name="messages")
    op.drop_column("attempts", "spans")
