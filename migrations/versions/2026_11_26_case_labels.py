"""Finds the labels of a case: the packing page shows those of the last cases each few seconds."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261126_case_labels"
down_revision: str | None = "20261126_overview"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("CREATE INDEX ix_print_jobs_case_id_id ON print_jobs (case_id, id) WHERE case_id IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX ix_print_jobs_case_id_id")
