"""What a request of several transactions has done so far."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261126_interrupted"
down_revision: str | None = "20261126_console"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("so_far", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "so_far")
