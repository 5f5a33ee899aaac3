"""Repairs of counters are counted in the database: those of a command, which nobody scrapes, too."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_count_repairs"
down_revision: str | None = "20261122_webhook_owners"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "count_repairs",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("repairs", sa.BigInteger(), nullable=False),
        sa.Column("last_repaired_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_count_repairs")),
    )


def downgrade() -> None:
    op.drop_table("count_repairs")
