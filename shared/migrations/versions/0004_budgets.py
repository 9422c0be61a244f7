"""budgets, and model calls in a form that is fast to sum"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


def upgrade() -> None:
    for table in ("projects", "sessions"):
        op.add_column(table, sa.Column("budget_tokens", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("budget_usd", sa.String(length=20), nullable=True))
    # empty, which needs no rewriting: the sweep fills in what was recorded before
    op.add_column("model_calls", sa.Column("project_id", sa.Uuid(), nullable=True))
    op.add_column("model_calls", sa.Column("day", sa.Integer(), nullable=True))
    for name in _TOKENS:
        op.add_column("model_calls", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_index(
        op.f("ix_model_calls_project_id_day"), "model_calls", ["project_id", "day"], unique=False
    )
    op.create_table(
        "usage_days",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("uncounted_calls", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _TOKENS),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_usage_days_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "day", "model", name=op.f("pk_usage_days")),
    )


def downgrade() -> None:
    op.drop_table("usage_days")
    op.drop_index(op.f("ix_model_calls_project_id_day"), table_name="model_calls")
    for name in (*_TOKENS, "day", "project_id"):
        op.drop_column("model_calls", name)
    for table in ("sessions", "projects"):
        op.drop_column(table, "budget_usd")
        op.drop_column(table, "budget_tokens")
