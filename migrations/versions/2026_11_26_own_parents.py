"""A row hangs under a parent of its own organisation only: foreign keys take the organisation along.

Each key replaces one that looked at the parent's id alone, so that a row is checked as often as before: one check for
each code, each prepared code and each row of a dispatch. Only excluded codes are checked once more.

Two tables get no key; their policies ask for parents that the organisation can see, without a lock. The key of
`sync_batch_records` would lock the one row that all reporters move. `trace_events` outlive their jobs, and name a batch
of codes or of a fan-out. `(SELECT true …)` and not EXISTS: PostgreSQL may answer EXISTS from a hash of all parents.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_own_parents"
down_revision: str | None = "20261126_secret_key_fingerprint"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ORGANISATION = "manufacturer_org_id"
LOG = "t_akselgate_transaction_log"
OWN = f"{ORGANISATION} = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"

# Index that goes, table, and the unique key that takes its place.
UNIQUE = (
    ("ix_qr_batches_manufacturer_org_id_id", "qr_batches", (ORGANISATION, "id")),
    ("ix_qr_reverse_jobs_manufacturer_org_id_id", "qr_reverse_jobs", (ORGANISATION, "id")),
    ("ix_qr_reverse_jobs_batch_id_id", "qr_reverse_jobs", ("batch_id", "id", ORGANISATION)),
    ("ix_akselgate_log_org", LOG, (ORGANISATION, "id")),
)
OF_BATCH, OF_JOB, OF_BATCH_AND_JOB = {"batch_id": "id"}, {"job_id": "id"}, {"batch_id": "batch_id", "job_id": "id"}
# Table, the key that goes, the parent, and what refers to which of its columns besides the organisation.
KEYS: tuple[tuple[str, str | None, str, dict[str, str]], ...] = (
    ("qr_batch_variants", "fk_qr_batch_variants_batch_id", "qr_batches", OF_BATCH),
    ("qr_batch_stages", "fk_qr_batch_stages_batch_id", "qr_batches", OF_BATCH),
    ("qr_master_codes", "fk_qr_master_codes_batch_id", "qr_batches", OF_BATCH),
    ("qr_codes", "fk_qr_codes_batch_id", "qr_batches", OF_BATCH),
    ("qr_reverse_jobs", "fk_qr_reverse_jobs_batch_id", "qr_batches", OF_BATCH),
    ("qr_excluded_codes", None, "qr_batches", OF_BATCH),
    ("qr_excluded_codes", "fk_qr_excluded_codes_job_id", "qr_reverse_jobs", OF_BATCH_AND_JOB),
    ("qr_prepared_codes", "fk_qr_prepared_codes_job_id", "qr_reverse_jobs", OF_BATCH_AND_JOB),
    ("qr_reverse_job_logs", "fk_qr_reverse_job_logs_job_id", "qr_reverse_jobs", OF_JOB),
)
OF_ATTEMPT = {
    "t_akselgate_transaction_rows": "fk_akselgate_rows_attempt_id",
    "t_akselgate_open_attempts": "fk_akselgate_open_attempt_id",
    "t_akselgate_events": "fk_akselgate_events_attempt_id",
}
SEEN_PARENTS = {
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
    for index, table, unique in UNIQUE:
        op.drop_index(index, table)
        op.create_unique_constraint(op.f(_name_of_unique(table, unique)), table, list(unique))
    for table, replaced, parent, columns in KEYS:
        if replaced is not None:
            op.drop_constraint(replaced, table)
        _tie(_name_of_key(table, columns), table, parent, columns, ondelete=_ondelete(parent))
    for table, name in OF_ATTEMPT.items():
        op.drop_constraint(name, table)
        _tie(name, table, LOG, {"attempt_id": "id"})
    for table, sees_parent in SEEN_PARENTS.items():
        op.execute(sa.text(f"ALTER POLICY own_rows ON {table} WITH CHECK ({OWN} AND {sees_parent})"))


def _name_of_unique(table: str, columns: tuple[str, ...]) -> str:
    return "uq_akselgate_log_org" if table == LOG else f"uq_{table}_{'_'.join(columns)}"


def _name_of_key(table: str, columns: dict[str, str]) -> str:
    return f"fk_{table}_{'_'.join((ORGANISATION, *columns))}"


def _ondelete(parent: str) -> str | None:
    return "CASCADE" if parent == "qr_reverse_jobs" else None


def _tie(name: str, table: str, parent: str, columns: dict[str, str], *, ondelete: str | None = None) -> None:
    op.create_foreign_key(
        op.f(name), table, parent, [ORGANISATION, *columns], [ORGANISATION, *columns.values()], ondelete=ondelete
    )


def downgrade() -> None:
    for table in SEEN_PARENTS:
        op.execute(f"ALTER POLICY own_rows ON {table} WITH CHECK ({OWN})")
    for table, name in OF_ATTEMPT.items():
        op.drop_constraint(name, table)
        op.create_foreign_key(name, table, LOG, ["attempt_id"], ["id"])
    for table, replaced, parent, columns in KEYS:
        op.drop_constraint(_name_of_key(table, columns), table)
        if replaced is not None:
            child = "job_id" if "job_id" in columns else "batch_id"
            op.create_foreign_key(replaced, table, parent, [child], ["id"], ondelete=_ondelete(parent))
    for index, table, unique in UNIQUE:
        op.drop_constraint(_name_of_unique(table, unique), table)
        op.create_index(index, table, list(unique[:2]))
