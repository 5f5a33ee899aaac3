"""What is old is found by its age."""

from collections.abc import Sequence

from alembic import op
from sqlalchemy import text

revision: str = "20261122_retention"
down_revision: str | None = "20261122_worker_processes"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_index(
        "ix_qr_reverse_jobs_finished_at",
        "qr_reverse_jobs",
        ["finished_at"],
        postgresql_where=text("finished_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_qr_reverse_jobs_finished_at", table_name="qr_reverse_jobs")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
