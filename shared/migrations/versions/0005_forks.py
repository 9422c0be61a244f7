"""where a forked session comes from"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("forked_from_message_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "forked_from_message_id")
