"""Public verification: checks, failures, reports, alerts, recalls, and their notifications."""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy

revision: str = "0007_verification"
down_revision: str | None = "0006_labels"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

CHECKS = (
    """
    CREATE TABLE verifications (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_verifications PRIMARY KEY,
        batch_id uuid NOT NULL,
        sequence_number integer NOT NULL,
        purpose text NOT NULL,
        result text NOT NULL,
        checked_at timestamptz DEFAULT now() NOT NULL,
        browser bytea,
        network bytea,
        actor text,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ck_verifications_purpose CHECK (purpose IN ('consumer', 'qc')),
        CONSTRAINT ck_verifications_result
            CHECK (result IN ('genuine', 'genuine_seen_before', 'not_released', 'void', 'recalled', 'unknown')),
        CONSTRAINT ck_verifications_right_key CHECK (result <> 'unknown'),
        CONSTRAINT ck_verifications_actor CHECK ((purpose = 'qc') = (actor IS NOT NULL)),
        CONSTRAINT fk_verifications_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT fk_verifications_batch_id_sequence_number
            FOREIGN KEY (batch_id, sequence_number) REFERENCES qr_codes (batch_id, sequence_number)
    )
    """,
    """
    CREATE INDEX ix_verifications_batch_id_sequence_number_id ON verifications (batch_id, sequence_number, id)
    """,
    "CREATE INDEX ix_verifications_batch_id_id ON verifications (batch_id, id)",
    "CREATE INDEX ix_verifications_manufacturer_org_id_id ON verifications (manufacturer_org_id, id)",
    """
    CREATE TABLE verification_reports (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_verification_reports PRIMARY KEY,
        batch_id uuid NOT NULL,
        code text,
        reason text NOT NULL,
        message text,
        reported_at timestamptz DEFAULT now() NOT NULL,
        network bytea NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ck_verification_reports_reason
            CHECK (reason IN ('not_me', 'label_damaged', 'key_opened', 'product_doubtful', 'sold_too_early', 'other')),
        CONSTRAINT fk_verification_reports_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id)
    )
    """,
    "CREATE INDEX ix_verification_reports_batch_id_id ON verification_reports (batch_id, id)",
    "CREATE INDEX ix_verification_reports_manufacturer_org_id_id ON verification_reports (manufacturer_org_id, id)",
    """
    CREATE INDEX ix_verification_reports_manufacturer_org_id_reported_at
    ON verification_reports (manufacturer_org_id, reported_at)
    """,
    "CREATE INDEX ix_verification_reports_reported_at ON verification_reports (reported_at)",
    "CREATE INDEX ix_verification_reports_network_reported_at ON verification_reports (network, reported_at)",
    """
    CREATE TABLE verification_alerts (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_verification_alerts PRIMARY KEY,
        batch_id uuid NOT NULL,
        kind text NOT NULL,
        sequence_number integer,
        raised_on date DEFAULT (now() AT TIME ZONE 'UTC')::date NOT NULL,
        raised_at timestamptz DEFAULT now() NOT NULL,
        details jsonb DEFAULT '{}' NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT uq_verification_alerts_once_a_day
            UNIQUE NULLS NOT DISTINCT (batch_id, kind, sequence_number, raised_on),
        CONSTRAINT ck_verification_alerts_kind
            CHECK (kind IN ('guessing', 'many_networks', 'void', 'recalled', 'not_released', 'expired')),
        CONSTRAINT fk_verification_alerts_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT fk_verification_alerts_batch_id_sequence_number
            FOREIGN KEY (batch_id, sequence_number) REFERENCES qr_codes (batch_id, sequence_number)
    )
    """,
    "CREATE INDEX ix_verification_alerts_batch_id_id ON verification_alerts (batch_id, id)",
    "CREATE INDEX ix_verification_alerts_manufacturer_org_id_id ON verification_alerts (manufacturer_org_id, id)",
    """
    CREATE INDEX ix_verification_alerts_manufacturer_org_id_raised_at
    ON verification_alerts (manufacturer_org_id, raised_at)
    """,
    "CREATE INDEX ix_verification_alerts_raised_at ON verification_alerts (raised_at)",
)

# A table of the whole service: checks of unknown codes and batches count as well. Requests of organisations have no
# rights on it.
FAILURES = (
    """
    CREATE TABLE verification_failures (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_verification_failures PRIMARY KEY,
        failed_at timestamptz DEFAULT now() NOT NULL,
        batch_key bytea NOT NULL,
        code_key bytea,
        network_key bytea NOT NULL,
        wide_network_key bytea
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)
    """,
    """
    CREATE INDEX ix_verification_failures_code_key_failed_at ON verification_failures (code_key, failed_at)
    """,
    """
    CREATE INDEX ix_verification_failures_network_key_failed_at ON verification_failures (network_key, failed_at)
    """,
    """
    CREATE INDEX ix_verification_failures_wide_network_key_failed_at
        ON verification_failures (wide_network_key, failed_at)
    """,
    """
    CREATE INDEX ix_verification_failures_batch_key_failed_at ON verification_failures (batch_key, failed_at)
    """,
    "CREATE INDEX ix_verification_failures_failed_at ON verification_failures (failed_at)",
)

RECALLS = (
    """
    CREATE TABLE recalls (
        id uuid CONSTRAINT pk_recalls PRIMARY KEY,
        scope text NOT NULL,
        batch_id uuid,
        master_code_id bigint,
        reason text NOT NULL,
        text_en text NOT NULL,
        text_id text NOT NULL,
        unit_count integer NOT NULL,
        recalled_at timestamptz DEFAULT now() NOT NULL,
        recalled_by text NOT NULL,
        lifted_at timestamptz,
        lifted_by text,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT ck_recalls_scope CHECK (scope IN ('batch', 'case', 'codes')),
        CONSTRAINT ck_recalls_batch CHECK ((scope = 'codes') = (batch_id IS NULL)),
        CONSTRAINT ck_recalls_case CHECK ((scope = 'case') = (master_code_id IS NOT NULL)),
        CONSTRAINT ck_recalls_lifted CHECK ((lifted_at IS NULL) = (lifted_by IS NULL)),
        CONSTRAINT ck_recalls_unit_count CHECK (unit_count >= 1),
        CONSTRAINT uq_recalls_manufacturer_org_id_id UNIQUE (manufacturer_org_id, id),
        CONSTRAINT fk_recalls_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT fk_recalls_batch_id_master_code_id
            FOREIGN KEY (batch_id, master_code_id) REFERENCES qr_master_codes (batch_id, id)
    )
    """,
    # At most one recall in force for each reason of a batch or case.
    """
    CREATE UNIQUE INDEX uq_recalls_in_force ON recalls (batch_id, master_code_id, reason) NULLS NOT DISTINCT
        WHERE lifted_at IS NULL AND scope <> 'codes'
    """,
    "CREATE INDEX ix_recalls_batch_id ON recalls (batch_id) WHERE lifted_at IS NULL",
    """
    CREATE TABLE recalled_codes (
        recall_id uuid,
        batch_id uuid,
        sequence_number integer,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT pk_recalled_codes PRIMARY KEY (recall_id, batch_id, sequence_number),
        CONSTRAINT fk_recalled_codes_manufacturer_org_id_recall_id
            FOREIGN KEY (manufacturer_org_id, recall_id) REFERENCES recalls (manufacturer_org_id, id),
        CONSTRAINT fk_recalled_codes_manufacturer_org_id_batch_id
            FOREIGN KEY (manufacturer_org_id, batch_id) REFERENCES qr_batches (manufacturer_org_id, id),
        CONSTRAINT fk_recalled_codes_batch_id_sequence_number
            FOREIGN KEY (batch_id, sequence_number) REFERENCES qr_codes (batch_id, sequence_number)
    )
    """,
    """
    CREATE INDEX ix_recalled_codes_batch_id_sequence_number ON recalled_codes (batch_id, sequence_number)
    """,
)

# The functions run with the rights of the tables' owner, as announce_end does. A channel of a batch gets at most one
# notification a day for each kind of alert and each reason of reports: of two at the same time, the constraint on
# `repeat_key` refuses the second.
TRIGGERS = (
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

RIGHTS = {
    "verifications": "SELECT, INSERT",
    "verification_reports": "SELECT, INSERT",
    "verification_alerts": "SELECT, INSERT",
    "recalls": "SELECT, INSERT, UPDATE (lifted_at, lifted_by)",
    "recalled_codes": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in (*CHECKS, *FAILURES, *RECALLS, *TRIGGERS):
        op.execute(statement)
    enforce_tenancy(RIGHTS)


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(RIGHTS)}, verification_failures")
    op.execute("DROP FUNCTION announce_alert(), announce_report(), announce_verification(text, uuid, text, text)")
