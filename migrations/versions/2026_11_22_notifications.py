"""Who asked to be told of the end of a job or a batch is told: written with the end itself, whoever writes that."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261122_notifications"
down_revision: str | None = "20261122_progress"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OWN = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"

# They run as the owner of the tables: a request's role ends jobs, and may not write a message of its own.
DEFINER = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

# An end that somebody forgets to announce is a notification that is lost, so nobody has to think of it.
ANNOUNCE = f"""
CREATE FUNCTION announce_end(organisation uuid, subject text, subject_id uuid, notify jsonb, content jsonb)
RETURNS void {DEFINER} AS $$
BEGIN
    INSERT INTO notifications (manufacturer_org_id, status, subject, subject_id, channel, address, content)
    SELECT organisation, 'queued', subject, subject_id, named.channel, named.address, content
    FROM jsonb_each_text(notify) AS named (channel, address) ORDER BY named.channel;
    PERFORM pg_notify('qrtrack_queues', 'notification');
END $$
"""
OF_JOB = f"""
CREATE FUNCTION announce_end_of_job() RETURNS trigger {DEFINER} AS $$
BEGIN
    PERFORM announce_end(NEW.manufacturer_org_id, 'reverse_job', NEW.id, NEW.notify, jsonb_build_object(
        'status', NEW.status, 'batch_id', NEW.batch_id, 'order_id', NEW.order_id,
        'result_summary', NEW.result_summary, 'error_message', NEW.error_message));
    RETURN NULL;
END $$
"""
OF_BATCH = f"""
CREATE FUNCTION announce_end_of_batch() RETURNS trigger {DEFINER} AS $$
BEGIN
    PERFORM announce_end(NEW.manufacturer_org_id, 'batch', NEW.id, NEW.notify, jsonb_build_object(
        'status', NEW.status, 'order_id', NEW.order_id, 'quantity', NEW.quantity,
        'error_message', NEW.error_message));
    RETURN NULL;
END $$
"""
TRIGGERS = (
    """
    CREATE TRIGGER announce_end AFTER UPDATE OF status ON qr_reverse_jobs FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL AND NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION announce_end_of_job()
    """,
    """
    CREATE TRIGGER announce_end AFTER UPDATE OF status ON qr_batches FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL AND NEW.status IN ('ready', 'failed') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION announce_end_of_batch()
    """,
)


def upgrade() -> None:
    op.add_column("qr_batches", sa.Column("notify", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("qr_reverse_jobs", sa.Column("notify", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
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
            name=op.f("ck_notifications_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed')) = (finished_at IS NOT NULL)", name=op.f("ck_notifications_finished")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_notifications_attempts")),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_notifications_priority")),
        sa.CheckConstraint("channel IN ('email', 'url')", name=op.f("ck_notifications_channel")),
        sa.CheckConstraint("subject IN ('reverse_job', 'batch')", name=op.f("ck_notifications_subject")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        postgresql_with={
            "fillfactor": 80,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
        },
    )
    op.create_index(
        "ix_notifications_claim",
        "notifications",
        ["manufacturer_org_id", sa.literal_column("priority DESC"), "run_at", "id"],
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_notifications_finished_at",
        "notifications",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    role = op.get_context().opts["tenant_role"]
    op.execute(f"GRANT SELECT ON notifications TO {role}")
    op.execute("ALTER TABLE notifications ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_rows ON notifications TO {role} USING ({OWN}) WITH CHECK ({OWN})")
    revoke = "REVOKE EXECUTE ON FUNCTION announce_end(uuid, text, uuid, jsonb, jsonb) FROM PUBLIC"
    for statement in (ANNOUNCE, revoke, OF_JOB, OF_BATCH, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER announce_end ON qr_batches")
    op.execute("DROP TRIGGER announce_end ON qr_reverse_jobs")
    op.execute("DROP FUNCTION announce_end_of_batch()")
    op.execute("DROP FUNCTION announce_end_of_job()")
    op.execute("DROP FUNCTION announce_end(uuid, text, uuid, jsonb, jsonb)")
    op.drop_table("notifications")
    op.drop_column("qr_reverse_jobs", "notify")
    op.drop_column("qr_batches", "notify")
