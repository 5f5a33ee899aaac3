"""At most one recall in force for each reason of a batch or case, and notifications of alerts and reports."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261126_alerts"
down_revision: str | None = "20261126_verification"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = (
    """
    CREATE UNIQUE INDEX uq_recalls_in_force ON recalls (batch_id, master_code_id, reason) NULLS NOT DISTINCT
        WHERE lifted_at IS NULL AND scope <> 'codes'
    """,
    "CREATE INDEX ix_verification_alerts_raised_at ON verification_alerts (raised_at)",
    "CREATE INDEX ix_verification_reports_reported_at ON verification_reports (reported_at)",
)

# The functions run with the rights of the tables' owner, as announce_end does. A channel of a batch gets at most one
# notification a day for each kind of alert and each reason of reports: of two at the same time, the constraint on
# `repeat_key` refuses the second.
NOTIFICATIONS = (
    """
    CREATE FUNCTION announce_verification(subject text, of_batch uuid, kind text, unit text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        INSERT INTO notifications (manufacturer_org_id, status, subject, subject_id, channel, address, repeat_key,
                                   content)
        SELECT batch.manufacturer_org_id, 'queued', subject, batch.id, named.channel, named.address,
               subject || ' ' || kind || ' ' || (now() AT TIME ZONE 'UTC')::date,
               jsonb_build_object('kind', kind, 'code', unit, 'order_id', batch.order_id,
                                  'product_name', batch.product_name)
        FROM qr_batches AS batch
        CROSS JOIN LATERAL jsonb_each_text(batch.notify) AS named (channel, address)
        WHERE batch.id = of_batch
        ORDER BY named.channel
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            PERFORM pg_notify('qrtrack_queues', 'notification');
        END IF;
    END $$
    """,
    "REVOKE EXECUTE ON FUNCTION announce_verification(text, uuid, text, text) FROM PUBLIC",
    """
    CREATE FUNCTION announce_alert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM announce_verification('verification_alert', NEW.batch_id, NEW.kind,
            (SELECT code FROM qr_codes
             WHERE batch_id = NEW.batch_id AND sequence_number = NEW.sequence_number));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER announce_alert AFTER INSERT ON verification_alerts
    FOR EACH ROW EXECUTE FUNCTION announce_alert()
    """,
    # The message leaves out the consumer's text, which might be anything. It names the entered code only if a unit of
    # the batch has it.
    """
    CREATE FUNCTION announce_report() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM announce_verification('verification_report', NEW.batch_id, NEW.reason,
            (SELECT code FROM qr_codes
             WHERE manufacturer_org_id = NEW.manufacturer_org_id AND code = NEW.code AND batch_id = NEW.batch_id));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER announce_report AFTER INSERT ON verification_reports
    FOR EACH ROW EXECUTE FUNCTION announce_report()
    """,
)


def upgrade() -> None:
    for statement in (*INDEXES, *NOTIFICATIONS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER announce_alert ON verification_alerts")
    op.execute("DROP TRIGGER announce_report ON verification_reports")
    op.execute("DROP FUNCTION announce_alert(), announce_report(), announce_verification(text, uuid, text, text)")
    op.execute(
        """
        DROP INDEX uq_recalls_in_force, ix_verification_alerts_raised_at, ix_verification_reports_reported_at
        """
    )
