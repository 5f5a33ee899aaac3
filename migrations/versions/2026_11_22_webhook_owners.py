"""A conflict belongs to the organisation of what came, not of what was there; events of nobody wait in an index."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261122_webhook_owners"
down_revision: str | None = "20261122_stale_attempts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("webhook_conflicts", sa.Column("database_id", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE webhook_conflicts AS conflict SET database_id = event.database_id"
        " FROM webhook_queue AS event WHERE event.id = conflict.queue_id"
    )
    op.create_index(
        "ix_webhook_queue_unowned",
        "webhook_queue",
        ["database_id", "id"],
        postgresql_where=sa.text("manufacturer_org_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_queue_unowned", table_name="webhook_queue")
    op.drop_column("webhook_conflicts", "database_id")
