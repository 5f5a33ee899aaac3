"""Progress batches of other systems: one row with the counters of each, and one row for each record's outcome."""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import OWN, enforce_tenancy

revision: str = "0005_progress"
down_revision: str | None = "0004_akselgate"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = (
    """
    CREATE TABLE sync_batch_progress (
        batch_id uuid CONSTRAINT pk_sync_batch_progress PRIMARY KEY,
        name text NOT NULL,
        kind text NOT NULL,
        total_records integer NOT NULL,
        processed_records integer DEFAULT 0 NOT NULL,
        success_count integer DEFAULT 0 NOT NULL,
        failed_records integer DEFAULT 0 NOT NULL,
        progress_percentage smallint DEFAULT 0 NOT NULL,
        status text DEFAULT 'pending' NOT NULL,
        summary jsonb,
        created_by text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        started_at timestamptz,
        completed_at timestamptz,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ck_sync_batch_progress_ended
            CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
        CONSTRAINT ck_sync_batch_progress_complete
            CHECK ((status IN ('completed', 'failed')) = (progress_percentage = 100)),
        CONSTRAINT ck_sync_batch_progress_counted
            CHECK (processed_records >= 0 AND success_count >= 0 AND failed_records >= 0),
        CONSTRAINT ck_sync_batch_progress_progress_percentage CHECK (progress_percentage BETWEEN 0 AND 100),
        CONSTRAINT ck_sync_batch_progress_status
            CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
        CONSTRAINT ck_sync_batch_progress_total_records CHECK (total_records BETWEEN 1 AND 10000000)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX ix_sync_batch_progress_processing ON sync_batch_progress (batch_id) WHERE status = 'processing'",
    """
    CREATE TABLE sync_batch_records (
        batch_id uuid,
        record_key text COLLATE "C",
        success boolean NOT NULL,
        error text,
        recorded_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT pk_sync_batch_records PRIMARY KEY (batch_id, record_key)
    )
    """,
    """
    CREATE INDEX ix_sync_batch_records_failures ON sync_batch_records (batch_id, recorded_at, record_key)
        WHERE NOT success
    """,
)

# Requests cannot change a recorded outcome.
RIGHTS = {"sync_batch_progress": "SELECT, INSERT, UPDATE", "sync_batch_records": "SELECT, INSERT"}

# Two tables have no foreign key to their parents. Their policies check without a lock that the organisation sees the
# parent. A foreign key of sync_batch_records would lock the one row that all reporters update. trace_events outlive
# their jobs, and batch_id is a batch of codes or a progress batch. `(SELECT true …)` and not EXISTS: PostgreSQL may
# answer EXISTS from a hash of all parents.
PARENTS = {
    "sync_batch_records": """
        (SELECT true FROM sync_batch_progress AS parent WHERE parent.batch_id = sync_batch_records.batch_id)""",
    "trace_events": """
        (batch_id IS NULL
         OR (SELECT true FROM qr_batches AS parent WHERE parent.id = trace_events.batch_id)
         OR (SELECT true FROM sync_batch_progress AS parent WHERE parent.batch_id = trace_events.batch_id))
        AND (master_code_id IS NULL
             OR (SELECT true FROM qr_master_codes AS parent
                 WHERE parent.batch_id = trace_events.batch_id AND parent.id = trace_events.master_code_id))
        AND (job_id IS NULL OR (SELECT true FROM qr_reverse_jobs AS parent WHERE parent.id = trace_events.job_id))""",
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    enforce_tenancy(RIGHTS)
    for table, sees_parent in PARENTS.items():
        op.execute(f"ALTER POLICY own_rows ON {table} WITH CHECK ({OWN} AND {sees_parent})")


def downgrade() -> None:
    op.execute(f"ALTER POLICY own_rows ON trace_events WITH CHECK ({OWN})")
    op.execute(f"DROP TABLE {', '.join(RIGHTS)}")
