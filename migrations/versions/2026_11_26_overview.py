"""Indexes of the overview: cases packed today, and what failed."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261126_overview"
down_revision: str | None = "20261126_console_lists"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = (
    """
    CREATE INDEX ix_qr_master_codes_packed_at ON qr_master_codes (manufacturer_org_id, packed_at)
    WHERE packed_at IS NOT NULL
    """,
    "CREATE INDEX ix_qr_batches_failed ON qr_batches (manufacturer_org_id, id) WHERE status = 'failed'",
    """
    CREATE INDEX ix_qr_reverse_jobs_failed ON qr_reverse_jobs (manufacturer_org_id, finished_at)
    WHERE status = 'failed'
    """,
    "CREATE INDEX ix_label_jobs_failed ON label_jobs (manufacturer_org_id, finished_at) WHERE status = 'failed'",
    """
    CREATE INDEX ix_print_jobs_not_printed ON print_jobs (manufacturer_org_id, finished_at)
    WHERE status IN ('failed', 'unknown')
    """,
    """
    CREATE INDEX ix_verification_alerts_manufacturer_org_id_raised_at
    ON verification_alerts (manufacturer_org_id, raised_at)
    """,
    """
    CREATE INDEX ix_verification_reports_manufacturer_org_id_reported_at
    ON verification_reports (manufacturer_org_id, reported_at)
    """,
)


def upgrade() -> None:
    for statement in INDEXES:
        op.execute(statement)


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX ix_qr_master_codes_packed_at, ix_qr_batches_failed, ix_qr_reverse_jobs_failed, ix_label_jobs_failed,
                   ix_print_jobs_not_printed, ix_verification_alerts_manufacturer_org_id_raised_at,
                   ix_verification_reports_manufacturer_org_id_reported_at
        """
    )
