"""The tables of the packing line, row-level security, and trace events that nobody can change."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261122_packing_line"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# The sub-select is evaluated once a statement, and keeps the index on manufacturer_org_id usable.
OWN = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"

RIGHTS = {
    "qr_batches": "SELECT, INSERT, UPDATE",
    "qr_batch_variants": "SELECT, INSERT, UPDATE",
    "qr_batch_stages": "SELECT, INSERT, UPDATE",
    "qr_serial_counters": "SELECT, INSERT, UPDATE",
    "qr_codes": "SELECT, INSERT, UPDATE",
    "qr_excluded_codes": "SELECT, INSERT, DELETE",
    "qr_master_codes": "SELECT, INSERT, UPDATE",
    "qr_reverse_jobs": "SELECT, INSERT, UPDATE",
    "qr_prepared_codes": "SELECT, INSERT, UPDATE, DELETE",
    "qr_reverse_job_logs": "SELECT, INSERT",
    "trace_events": "SELECT, INSERT",
    "idempotency_keys": "SELECT, INSERT, UPDATE",
}

APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON trace_events
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("manufacturer_org_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "qr_batches",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("uniq_code", sa.Text(), nullable=False),
        sa.Column("product_name", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("units_per_case", sa.Integer(), nullable=False),
        sa.Column("serial_mode", sa.Text(), nullable=False),
        sa.Column("serial_prefix", sa.Text(), nullable=True),
        sa.Column("first_number", sa.BigInteger(), nullable=True),
        sa.Column("random_tail_length", sa.Integer(), nullable=True),
        sa.Column("key_length", sa.Integer(), nullable=False),
        sa.Column("gtin", sa.Text(), nullable=True),
        sa.Column("lot", sa.Text(), nullable=True),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("items_created", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("keys_to_hash", sa.Integer(), nullable=False),
        sa.Column("keys_hashed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("codes_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("keys_forgotten_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(serial_mode = 'sequential') = (first_number IS NOT NULL)", name=op.f("ck_qr_batches_first_number")
        ),
        sa.CheckConstraint(
            "CASE status WHEN 'creating' THEN codes_created_at IS NULL WHEN 'hashing' THEN codes_created_at IS NOT NULL WHEN 'ready' THEN codes_created_at IS NOT NULL AND keys_hashed = keys_to_hash ELSE error_message IS NOT NULL END",
            name=op.f("ck_qr_batches_stage"),
        ),
        sa.CheckConstraint(
            "serial_mode IN ('sequential', 'random', 'imported')", name=op.f("ck_qr_batches_serial_mode")
        ),
        sa.CheckConstraint("status IN ('creating', 'hashing', 'ready', 'failed')", name=op.f("ck_qr_batches_status")),
        sa.CheckConstraint(
            "(items_created = quantity) = (codes_created_at IS NOT NULL)", name=op.f("ck_qr_batches_codes_created")
        ),
        sa.CheckConstraint("items_created BETWEEN 0 AND quantity", name=op.f("ck_qr_batches_items_created")),
        sa.CheckConstraint(
            "keys_hashed BETWEEN 0 AND keys_to_hash AND keys_to_hash <= quantity",
            name=op.f("ck_qr_batches_keys_hashed"),
        ),
        sa.CheckConstraint("quantity BETWEEN 1 AND 1000000", name=op.f("ck_qr_batches_quantity")),
        sa.CheckConstraint("units_per_case >= 1", name=op.f("ck_qr_batches_units_per_case")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_batches")),
        sa.UniqueConstraint("uniq_code", name=op.f("uq_qr_batches_uniq_code")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("ix_qr_batches_manufacturer_org_id_id", "qr_batches", ["manufacturer_org_id", "id"], unique=False)
    op.create_index(
        "ix_qr_batches_manufacturer_org_id_order_id_id",
        "qr_batches",
        ["manufacturer_org_id", "order_id", "id"],
        unique=False,
    )
    op.create_table(
        "qr_serial_counters",
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("random_codes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("last_number >= 0 AND random_codes >= 0", name=op.f("ck_qr_serial_counters_counted")),
        sa.PrimaryKeyConstraint("manufacturer_org_id", "prefix", name=op.f("pk_qr_serial_counters")),
    )
    op.create_table(
        "queue_turns",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "manufacturer_org_id", name=op.f("pk_queue_turns")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "trace_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.UUID(), nullable=True),
        sa.Column("master_code_id", sa.BigInteger(), nullable=True),
        sa.Column("job_id", sa.UUID(), nullable=True),
        sa.Column("sequences", postgresql.INT4MULTIRANGE(), nullable=True),
        sa.Column("unit_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trace_events")),
    )
    op.create_index("ix_trace_events_batch_id_id", "trace_events", ["batch_id", "id"], unique=False)
    op.create_index(
        "ix_trace_events_packs",
        "trace_events",
        ["manufacturer_org_id", "id"],
        unique=False,
        postgresql_where=sa.text("action IN ('case.packed', 'case.linked')"),
    )
    op.create_table(
        "qr_batch_stages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("first_sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.UUID(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_qr_batch_stages_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_qr_batch_stages_finished"),
        ),
        sa.CheckConstraint("stage IN ('creating', 'hashing')", name=op.f("ck_qr_batch_stages_stage")),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'failed')", name=op.f("ck_qr_batch_stages_status")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_qr_batch_stages_attempts")),
        sa.CheckConstraint(
            "first_sequence >= 1 AND last_sequence >= first_sequence", name=op.f("ck_qr_batch_stages_sequence")
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_qr_batch_stages_priority")),
        sa.ForeignKeyConstraint(["batch_id"], ["qr_batches.id"], name=op.f("fk_qr_batch_stages_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_batch_stages")),
        sa.UniqueConstraint(
            "batch_id", "stage", "first_sequence", name=op.f("uq_qr_batch_stages_batch_id_stage_first_sequence")
        ),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index(
        "ix_qr_batch_stages_creating",
        "qr_batch_stages",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("stage = 'creating' AND status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_qr_batch_stages_hashing",
        "qr_batch_stages",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("stage = 'hashing' AND status IN ('queued', 'running')"),
    )
    op.create_table(
        "qr_batch_variants",
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("first_sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=True),
        sa.Column("queue_head", sa.Integer(), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "first_sequence >= 1 AND last_sequence >= first_sequence", name=op.f("ck_qr_batch_variants_sequence")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["qr_batches.id"], name=op.f("fk_qr_batch_variants_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "first_sequence", name=op.f("pk_qr_batch_variants")),
        sa.UniqueConstraint(
            "batch_id",
            "variant",
            name=op.f("uq_qr_batch_variants_batch_id_variant"),
            postgresql_nulls_not_distinct=True,
        ),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "qr_master_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("master_code", sa.Text(), nullable=False),
        sa.Column("case_number", sa.Integer(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=True),
        sa.Column("expected_units", sa.Integer(), nullable=False),
        sa.Column("actual_units", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("completeness", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("first_code", sa.Text(), nullable=True),
        sa.Column("last_code", sa.Text(), nullable=True),
        sa.Column("packed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("packed_by", sa.Text(), nullable=True),
        sa.Column("station", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint("(status = 'open') = (actual_units = 0)", name=op.f("ck_qr_master_codes_open")),
        sa.CheckConstraint(
            "(status = 'packed') = (packed_at IS NOT NULL) AND (status = 'packed') = (completeness IS NOT NULL)",
            name=op.f("ck_qr_master_codes_packed"),
        ),
        sa.CheckConstraint("completeness IN ('verified', 'inferred')", name=op.f("ck_qr_master_codes_completeness")),
        sa.CheckConstraint("status IN ('open', 'packed')", name=op.f("ck_qr_master_codes_status")),
        sa.CheckConstraint(
            "actual_units BETWEEN 0 AND expected_units AND expected_units >= 1", name=op.f("ck_qr_master_codes_units")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["qr_batches.id"], name=op.f("fk_qr_master_codes_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_master_codes")),
        sa.UniqueConstraint("batch_id", "case_number", name=op.f("uq_qr_master_codes_batch_id_case_number")),
        sa.UniqueConstraint("batch_id", "id", name=op.f("uq_qr_master_codes_batch_id_id")),
        sa.UniqueConstraint(
            "manufacturer_org_id", "master_code", name=op.f("uq_qr_master_codes_manufacturer_org_id_master_code")
        ),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "qr_reverse_jobs",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=True),
        sa.Column("exclude_codes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("first_sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("next_sequence", sa.Integer(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("total_available_in_batch", sa.Integer(), nullable=True),
        sa.Column("remaining_to_prepare", sa.Integer(), nullable=True),
        sa.Column("prepared_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("duplicate_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("excluded_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("excluded_already_unavailable", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("progress", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("result_summary", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.UUID(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint("(status = 'completed') = (progress = 100)", name=op.f("ck_qr_reverse_jobs_completed")),
        sa.CheckConstraint(
            "(status = 'completed') = (result_summary IS NOT NULL)", name=op.f("ck_qr_reverse_jobs_result")
        ),
        sa.CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_qr_reverse_jobs_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_qr_reverse_jobs_finished"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_qr_reverse_jobs_status"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_qr_reverse_jobs_attempts")),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_qr_reverse_jobs_priority")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_qr_reverse_jobs_progress")),
        sa.ForeignKeyConstraint(["batch_id"], ["qr_batches.id"], name=op.f("fk_qr_reverse_jobs_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_reverse_jobs")),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index("ix_qr_reverse_jobs_batch_id_id", "qr_reverse_jobs", ["batch_id", "id"], unique=False)
    op.create_index(
        "ix_qr_reverse_jobs_claim",
        "qr_reverse_jobs",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_qr_reverse_jobs_manufacturer_org_id_id", "qr_reverse_jobs", ["manufacturer_org_id", "id"], unique=False
    )
    op.create_table(
        "qr_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("sequence_number", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default=sa.text("'generated'"), nullable=False),
        sa.Column("master_code_id", sa.BigInteger(), nullable=True),
        sa.Column("root_key_digest", sa.LargeBinary(), nullable=True),
        sa.Column("root_key_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("root_key_hash", sa.Text(), nullable=True),
        sa.Column("printed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("void_reason", sa.Text(), nullable=True),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recalled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint("(status = 'void') = (voided_at IS NOT NULL)", name=op.f("ck_qr_codes_voided")),
        sa.CheckConstraint(
            "CASE WHEN status IN ('generated', 'printed', 'void') THEN master_code_id IS NULL WHEN status = 'packed' THEN master_code_id IS NOT NULL ELSE true END",
            name=op.f("ck_qr_codes_parent"),
        ),
        sa.CheckConstraint(
            "status IN ('generated', 'printed', 'packed', 'scanned', 'redeemed', 'void')",
            name=op.f("ck_qr_codes_status"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id", "master_code_id"],
            ["qr_master_codes.batch_id", "qr_master_codes.id"],
            name=op.f("fk_qr_codes_batch_id_master_code_id"),
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["qr_batches.id"], name=op.f("fk_qr_codes_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_codes")),
        sa.UniqueConstraint("batch_id", "root_key_digest", name=op.f("uq_qr_codes_batch_id_root_key_digest")),
        sa.UniqueConstraint("batch_id", "sequence_number", name=op.f("uq_qr_codes_batch_id_sequence_number")),
        sa.UniqueConstraint("manufacturer_org_id", "code", name=op.f("uq_qr_codes_manufacturer_org_id_code")),
        postgresql_with={"fillfactor": 75},
    )
    op.create_index(
        "ix_qr_codes_master_code_id",
        "qr_codes",
        ["master_code_id"],
        unique=False,
        postgresql_where=sa.text("master_code_id IS NOT NULL"),
    )
    op.create_table(
        "qr_excluded_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("sequence_number", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["qr_reverse_jobs.id"], name=op.f("fk_qr_excluded_codes_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_excluded_codes")),
        sa.UniqueConstraint(
            "batch_id",
            "sequence_number",
            "job_id",
            name=op.f("uq_qr_excluded_codes_batch_id_sequence_number_job_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_qr_excluded_codes_job_id"), "qr_excluded_codes", ["job_id"], unique=False)
    op.create_table(
        "qr_prepared_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("sequence_number", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'prepared'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(status = 'consumed') = (consumed_at IS NOT NULL)", name=op.f("ck_qr_prepared_codes_consumed")
        ),
        sa.CheckConstraint("status IN ('prepared', 'consumed', 'invalid')", name=op.f("ck_qr_prepared_codes_status")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["qr_reverse_jobs.id"], name=op.f("fk_qr_prepared_codes_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_prepared_codes")),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index("ix_qr_prepared_codes_job_id_id", "qr_prepared_codes", ["job_id", "id"], unique=False)
    op.create_index(
        "ix_qr_prepared_codes_queue",
        "qr_prepared_codes",
        ["batch_id", "sequence_number"],
        unique=False,
        postgresql_where=sa.text("status = 'prepared'"),
    )
    op.create_index(
        "uq_qr_prepared_codes_prepared",
        "qr_prepared_codes",
        ["order_id", "batch_id", "code"],
        unique=True,
        postgresql_where=sa.text("status = 'prepared'"),
    )
    op.create_table(
        "qr_reverse_job_logs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint("level IN ('info', 'warn', 'error')", name=op.f("ck_qr_reverse_job_logs_level")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["qr_reverse_jobs.id"], name=op.f("fk_qr_reverse_job_logs_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qr_reverse_job_logs")),
    )
    op.create_index("ix_qr_reverse_job_logs_job_id_id", "qr_reverse_job_logs", ["job_id", "id"], unique=False)
    role = op.get_context().opts["tenant_role"]
    op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    for table, rights in RIGHTS.items():
        op.execute(f"GRANT {rights} ON {table} TO {role}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} TO {role} USING ({OWN}) WITH CHECK ({OWN})")
    for statement in APPEND_ONLY:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index("ix_qr_reverse_job_logs_job_id_id", table_name="qr_reverse_job_logs")
    op.drop_table("qr_reverse_job_logs")
    op.drop_index(
        "uq_qr_prepared_codes_prepared", table_name="qr_prepared_codes", postgresql_where=sa.text("status = 'prepared'")
    )
    op.drop_index(
        "ix_qr_prepared_codes_queue", table_name="qr_prepared_codes", postgresql_where=sa.text("status = 'prepared'")
    )
    op.drop_index("ix_qr_prepared_codes_job_id_id", table_name="qr_prepared_codes")
    op.drop_table("qr_prepared_codes")
    op.drop_index(op.f("ix_qr_excluded_codes_job_id"), table_name="qr_excluded_codes")
    op.drop_table("qr_excluded_codes")
    op.drop_index(
        "ix_qr_codes_master_code_id", table_name="qr_codes", postgresql_where=sa.text("master_code_id IS NOT NULL")
    )
    op.drop_table("qr_codes")
    op.drop_index("ix_qr_reverse_jobs_manufacturer_org_id_id", table_name="qr_reverse_jobs")
    op.drop_index(
        "ix_qr_reverse_jobs_claim",
        table_name="qr_reverse_jobs",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_index("ix_qr_reverse_jobs_batch_id_id", table_name="qr_reverse_jobs")
    op.drop_table("qr_reverse_jobs")
    op.drop_table("qr_master_codes")
    op.drop_table("qr_batch_variants")
    op.drop_index(
        "ix_qr_batch_stages_hashing",
        table_name="qr_batch_stages",
        postgresql_where=sa.text("stage = 'hashing' AND status IN ('queued', 'running')"),
    )
    op.drop_index(
        "ix_qr_batch_stages_creating",
        table_name="qr_batch_stages",
        postgresql_where=sa.text("stage = 'creating' AND status IN ('queued', 'running')"),
    )
    op.drop_table("qr_batch_stages")
    op.drop_index(
        "ix_trace_events_packs",
        table_name="trace_events",
        postgresql_where=sa.text("action IN ('case.packed', 'case.linked')"),
    )
    op.drop_index("ix_trace_events_batch_id_id", table_name="trace_events")
    op.drop_table("trace_events")
    op.drop_table("queue_turns")
    op.drop_table("qr_serial_counters")
    op.drop_index("ix_qr_batches_manufacturer_org_id_order_id_id", table_name="qr_batches")
    op.drop_index("ix_qr_batches_manufacturer_org_id_id", table_name="qr_batches")
    op.drop_table("qr_batches")
    op.drop_table("idempotency_keys")
    op.execute("DROP FUNCTION refuse_change()")
