"""Indexes for lists of the console: packed units by batch, and the newest records of an organisation."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261126_console_lists"
down_revision: str | None = "20261126_console"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

RECORDS = ("verifications", "verification_reports", "verification_alerts")
PACKED_CASES = """
CREATE INDEX ix_qr_master_codes_packed ON qr_master_codes (batch_id)
INCLUDE (manufacturer_org_id, actual_units)
WHERE actual_units > 0
"""


def upgrade() -> None:
    op.execute(PACKED_CASES)
    for table in RECORDS:
        op.execute(f"CREATE INDEX ix_{table}_manufacturer_org_id_id ON {table} (manufacturer_org_id, id)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_qr_master_codes_packed")
    for table in RECORDS:
        op.execute(f"DROP INDEX ix_{table}_manufacturer_org_id_id")
