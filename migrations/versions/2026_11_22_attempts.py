"""No row of a queue is tried more often than its queue allows."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261122_attempts"
down_revision: str | None = "20261122_dispatch_guards"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

MOST = {
    "notifications": 8,
    "periodic_tasks": 3,
    "qr_batch_stages": 4,
    "qr_reverse_jobs": 3,
    "webhook_queue": 8,
    "webhook_streams": 8,
}


def upgrade() -> None:
    for table, most in MOST.items():
        _replace(table, f"attempts BETWEEN 0 AND {most}")


def downgrade() -> None:
    for table in MOST:
        _replace(table, "attempts >= 0")


def _replace(table: str, condition: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_attempts"), table)
    op.create_check_constraint(op.f(f"ck_{table}_attempts"), table, condition)
