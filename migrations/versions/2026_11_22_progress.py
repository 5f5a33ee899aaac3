"""Fan-outs of other systems: the row that counts each, and one row for every record's outcome."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261122_progress"
down_revision: str | None = "20261122_retention"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OWN = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"

# An outcome that was recorded stays as it is.
RIGHTS = {"sync_batch_progress": "SELECT, INSERT, UPDATE", "sync_batch_records": "SELECT, INSERT"}


def upgrade() -> None:
    op.create_table(
        "sync_batch_progress",
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("total_records", sa.Integer(), nullable=False),
        sa.Column("processed_records", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("success_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed_records", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("progress_percentage", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("summary", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name=op.f("ck_sync_batch_progress_ended"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed')) = (progress_percentage = 100)",
            name=op.f("ck_sync_batch_progress_complete"),
        ),
        sa.CheckConstraint(
            "processed_records >= 0 AND success_count >= 0 AND failed_records >= 0",
            name=op.f("ck_sync_batch_progress_counted"),
        ),
        sa.CheckConstraint(
            "progress_percentage BETWEEN 0 AND 100", name=op.f("ck_sync_batch_progress_progress_percentage")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_sync_batch_progress_status"),
        ),
        sa.CheckConstraint("total_records BETWEEN 1 AND 10000000", name=op.f("ck_sync_batch_progress_total_records")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_sync_batch_progress")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "ix_sync_batch_progress_processing",
        "sync_batch_progress",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("status = 'processing'"),
    )
    op.create_table(
        "sync_batch_records",
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("record_key", sa.Text(collation="C"), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "record_key", name=op.f("pk_sync_batch_records")),
    )
    op.create_index(
        "ix_sync_batch_records_failures",
        "sync_batch_records",
        ["batch_id", "recorded_at", "record_key"],
        unique=False,
        postgresql_where=sa.text("NOT success"),
    )
    role = op.get_context().opts["tenant_role"]
    for table, rights in RIGHTS.items():
        op.execute(f"GRANT {rights} ON {table} TO {role}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} TO {role} USING ({OWN}) WITH CHECK ({OWN})")


def downgrade() -> None:
    op.drop_index(
        "ix_sync_batch_records_failures",
        table_name="sync_batch_records",
        postgresql_where=sa.text("NOT success"),
    )
    op.drop_table("sync_batch_records")
    op.drop_index(
        "ix_sync_batch_progress_processing",
        table_name="sync_batch_progress",
        postgresql_where=sa.text("status = 'processing'"),
    )
    op.drop_table("sync_batch_progress")
