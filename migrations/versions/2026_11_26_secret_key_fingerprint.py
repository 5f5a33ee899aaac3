"""SECRET_KEY leaves a fingerprint: a start with another key is refused."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_secret_key_fingerprint"
down_revision: str | None = "20261126_undone_packs"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "secret_key_fingerprint",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("ck_secret_key_fingerprint_is_only")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_secret_key_fingerprint")),
    )


def downgrade() -> None:
    op.drop_table("secret_key_fingerprint")
