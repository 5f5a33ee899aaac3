"""Accurate's webhook events with what follows from them, and tasks that come round again."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261122_accurate_webhooks"
down_revision: str | None = "20261122_packing_line"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OWN = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"

# Events and documents come from Accurate: people read them, and have events processed again.
RIGHTS = {
    "webhook_queue": "SELECT, UPDATE",
    "webhook_conflicts": "SELECT",
    "webhook_replays": "SELECT, INSERT",
    "webhook_streams": "SELECT",
    "accurate_documents": "SELECT",
    "periodic_tasks": "SELECT",
}


def upgrade() -> None:
    op.create_table(
        "accurate_documents",
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.Column("database_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(), nullable=True),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint(
            "manufacturer_org_id", "database_id", "type", "entity_id", name=op.f("pk_accurate_documents")
        ),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "accurate_sources",
        sa.Column("database_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("database_id", "type", name=op.f("pk_accurate_sources")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "accurate_subscription",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accurate_subscription")),
    )
    op.create_table(
        "periodic_tasks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.UUID(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_periodic_tasks_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_periodic_tasks_finished"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_periodic_tasks_attempts")),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_periodic_tasks_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_periodic_tasks")),
        sa.UniqueConstraint("name", name=op.f("uq_periodic_tasks_name")),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index(
        "ix_periodic_tasks_claim",
        "periodic_tasks",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_table(
        "webhook_queue",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("database_id", sa.BigInteger(), nullable=True),
        sa.Column("uuid", sa.Text(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("forward_status", sa.Text(), nullable=True),
        sa.Column("forward_attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("forward_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("forward_error", sa.Text(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.UUID(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'processing') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_webhook_queue_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('done', 'skipped', 'invalid', 'dead')) = (finished_at IS NOT NULL)",
            name=op.f("ck_webhook_queue_finished"),
        ),
        sa.CheckConstraint(
            "forward_status IN ('pending', 'sent', 'dead')", name=op.f("ck_webhook_queue_forward_status")
        ),
        sa.CheckConstraint(
            "manufacturer_org_id IS NOT NULL OR NOT (status IN ('pending', 'processing'))",
            name=op.f("ck_webhook_queue_owned"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'done', 'skipped', 'invalid', 'unassigned', 'dead')",
            name=op.f("ck_webhook_queue_status"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_webhook_queue_attempts")),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_webhook_queue_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_queue")),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index(
        "idx_webhook_uuid", "webhook_queue", ["uuid"], unique=True, postgresql_where=sa.text("uuid IS NOT NULL")
    )
    op.create_index(
        "ix_webhook_queue_claim",
        "webhook_queue",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("attempts = 0 AND status IN ('pending', 'processing')"),
    )
    op.create_index(
        "ix_webhook_queue_ended",
        "webhook_queue",
        ["manufacturer_org_id", "status", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('skipped', 'invalid', 'unassigned', 'dead')"),
    )
    op.create_index(
        "ix_webhook_queue_forward",
        "webhook_queue",
        ["manufacturer_org_id", "database_id", "type", "id"],
        unique=False,
        postgresql_where=sa.text("forward_status = 'pending'"),
    )
    op.create_index(
        "ix_webhook_queue_retention",
        "webhook_queue",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("payload <> '' AND status IN ('done', 'skipped', 'invalid', 'dead')"),
    )
    op.create_index(
        "ix_webhook_queue_manufacturer_org_id_id", "webhook_queue", ["manufacturer_org_id", "id"], unique=False
    )
    op.create_index(
        "ix_webhook_queue_retry",
        "webhook_queue",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("attempts > 0 AND status IN ('pending', 'processing')"),
    )
    op.create_table(
        "webhook_replays",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("selection", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_replays")),
    )
    op.create_table(
        "webhook_streams",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("database_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("touched", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.UUID(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_webhook_streams_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_webhook_streams_finished"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_webhook_streams_attempts")),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_webhook_streams_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_streams")),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index(
        "ix_webhook_streams_claim",
        "webhook_streams",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "uq_webhook_streams_manufacturer_org_id_database_id_type",
        "webhook_streams",
        ["manufacturer_org_id", "database_id", "type"],
        unique=True,
    )
    op.create_table(
        "webhook_conflicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("queue_id", sa.BigInteger(), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("times", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["queue_id"], ["webhook_queue.id"], name=op.f("fk_webhook_conflicts_queue_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_conflicts")),
    )
    op.create_index(
        "uq_webhook_conflicts_queue_id_content_hash", "webhook_conflicts", ["queue_id", "content_hash"], unique=True
    )
    role = op.get_context().opts["tenant_role"]
    for table, rights in RIGHTS.items():
        op.execute(f"GRANT {rights} ON {table} TO {role}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} TO {role} USING ({OWN}) WITH CHECK ({OWN})")
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_replays"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    op.drop_index("uq_webhook_conflicts_queue_id_content_hash", table_name="webhook_conflicts")
    op.drop_table("webhook_conflicts")
    op.drop_index("uq_webhook_streams_manufacturer_org_id_database_id_type", table_name="webhook_streams")
    op.drop_index(
        "ix_webhook_streams_claim",
        table_name="webhook_streams",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("webhook_streams")
    op.drop_table("webhook_replays")
    op.drop_index(
        "ix_webhook_queue_retry",
        table_name="webhook_queue",
        postgresql_where=sa.text("attempts > 0 AND status IN ('pending', 'processing')"),
    )
    op.drop_index("ix_webhook_queue_manufacturer_org_id_id", table_name="webhook_queue")
    op.drop_index(
        "ix_webhook_queue_forward", table_name="webhook_queue", postgresql_where=sa.text("forward_status = 'pending'")
    )
    op.drop_index(
        "ix_webhook_queue_ended",
        table_name="webhook_queue",
        postgresql_where=sa.text("status IN ('skipped', 'invalid', 'unassigned', 'dead')"),
    )
    op.drop_index(
        "ix_webhook_queue_claim",
        table_name="webhook_queue",
        postgresql_where=sa.text("attempts = 0 AND status IN ('pending', 'processing')"),
    )
    op.drop_index("idx_webhook_uuid", table_name="webhook_queue", postgresql_where=sa.text("uuid IS NOT NULL"))
    op.drop_index(
        "ix_webhook_queue_retention",
        table_name="webhook_queue",
        postgresql_where=sa.text("payload <> '' AND status IN ('done', 'skipped', 'invalid', 'dead')"),
    )
    op.drop_table("webhook_queue")
    op.drop_index(
        "ix_periodic_tasks_claim",
        table_name="periodic_tasks",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("periodic_tasks")
    op.drop_table("accurate_subscription")
    op.drop_table("accurate_sources")
    op.drop_table("accurate_documents")
