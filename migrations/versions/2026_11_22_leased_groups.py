"""Small work is leased in groups."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_leased_groups"
down_revision: str | None = "20261122_webhook_contract"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "leased_groups",
        sa.Column("token", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_leased_groups")),
    )


def downgrade() -> None:
    op.drop_table("leased_groups")
