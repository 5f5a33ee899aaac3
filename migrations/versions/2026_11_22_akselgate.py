"""Settlement dispatch: the log of attempts, their rows, and the triggers that let no one pay twice."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261122_akselgate"
down_revision: str | None = "20261122_accurate_webhooks"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OWN = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"

RIGHTS = {
    "t_akselgate_transaction_log": "SELECT, INSERT, UPDATE",
    "t_akselgate_transaction_rows": "SELECT, INSERT, UPDATE",
    "t_akselgate_open_attempts": "SELECT",
    "t_akselgate_events": "SELECT, INSERT",
}

# A request draws its id before it writes the row, because the bytes it sends contain it.
SEQUENCE = "GRANT USAGE ON SEQUENCE t_akselgate_transaction_log_id_seq TO {role}"

# What follows makes the database itself the guard of the money. The functions run with the rights of the tables' owner,
# so that a tenant's transaction cannot write what only they may write (`locked`, the open attempts).
DEFINER = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

GUARDS = (
    # The next attempt takes `is_latest` from the one before: this is the only way it ever moves.
    f"""
    CREATE FUNCTION akselgate_begin_attempt() RETURNS trigger {DEFINER} AS $$
    BEGIN
        IF NOT NEW.imported AND (NEW.outcome <> 'sending' OR NEW.is_latest <> 1) THEN
            RAISE EXCEPTION 'an attempt begins as the latest, and sending' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.is_latest = 1 THEN
            UPDATE t_akselgate_transaction_log SET is_latest = 0
            WHERE kd_settle = NEW.kd_settle AND transaction_type = NEW.transaction_type AND is_latest = 1;
        END IF;
        RETURN NEW;
    END $$
    """,
    (
        "CREATE TRIGGER begin_attempt BEFORE INSERT ON t_akselgate_transaction_log"
        " FOR EACH ROW EXECUTE FUNCTION akselgate_begin_attempt()"
    ),
    f"""
    CREATE FUNCTION akselgate_open_attempt() RETURNS trigger {DEFINER} AS $$
    BEGIN
        INSERT INTO t_akselgate_open_attempts (kd_settle, transaction_type, attempt_id, manufacturer_org_id)
        VALUES (NEW.kd_settle, NEW.transaction_type, NEW.id, NEW.manufacturer_org_id);
        RETURN NULL;
    END $$
    """,
    (
        "CREATE TRIGGER open_attempt AFTER INSERT ON t_akselgate_transaction_log"
        " FOR EACH ROW WHEN (NEW.outcome NOT IN ('rejected', 'not_sent')) EXECUTE FUNCTION akselgate_open_attempt()"
    ),
    # The three updates that there are. Two of them are made by other triggers only (depth above 1): `is_latest` by the
    # next attempt, an unknown outcome by the event that resolves it.
    f"""
    CREATE FUNCTION akselgate_guard_attempt() RETURNS trigger {DEFINER} AS $$
    DECLARE
        allowed t_akselgate_transaction_log := OLD;
        by_trigger boolean := pg_trigger_depth() > 1;
    BEGIN
        IF by_trigger AND OLD.is_latest = 1 AND NEW.is_latest = 0 THEN
            allowed.is_latest := 0;
        ELSIF by_trigger AND OLD.outcome = 'unknown' AND NEW.outcome IN ('accepted', 'rejected', 'not_sent') THEN
            allowed.outcome := NEW.outcome;
            allowed.is_success := NEW.is_success;
        ELSIF OLD.outcome = 'sending' AND NEW.outcome <> 'sending' THEN
            allowed.outcome := NEW.outcome;
            allowed.is_success := NEW.is_success;
            allowed.status_code_res := NEW.status_code_res;
            allowed.response_code := NEW.response_code;
            allowed.response_message := NEW.response_message;
            allowed.response_payload := NEW.response_payload;
        ELSE
            RAISE EXCEPTION 'attempt % may not be changed in this way', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        allowed.updated_at := now();
        NEW.updated_at := now();
        IF NEW IS DISTINCT FROM allowed THEN
            RAISE EXCEPTION 'what attempt % has sent may not be changed', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    (
        "CREATE TRIGGER guard_attempt BEFORE UPDATE ON t_akselgate_transaction_log"
        " FOR EACH ROW EXECUTE FUNCTION akselgate_guard_attempt()"
    ),
    # What was not taken is free again, except what the gateway has paid all the same.
    f"""
    CREATE FUNCTION akselgate_release_attempt() RETURNS trigger {DEFINER} AS $$
    BEGIN
        UPDATE t_akselgate_transaction_rows SET locked = false
        WHERE attempt_id = NEW.id AND locked AND callback_state = 'missing';
        DELETE FROM t_akselgate_open_attempts WHERE attempt_id = NEW.id;
        RETURN NULL;
    END $$
    """,
    (
        "CREATE TRIGGER release_attempt AFTER UPDATE ON t_akselgate_transaction_log FOR EACH ROW"
        " WHEN (NEW.outcome IN ('rejected', 'not_sent') AND OLD.outcome IS DISTINCT FROM NEW.outcome)"
        " EXECUTE FUNCTION akselgate_release_attempt()"
    ),
    # An attempt's rows come in one statement: as many as it says, with its control sum, all of them locked.
    f"""
    CREATE FUNCTION akselgate_check_rows() RETURNS trigger {DEFINER} AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM (SELECT DISTINCT attempt_id FROM added) AS touched
            JOIN t_akselgate_transaction_log AS log ON log.id = touched.attempt_id
            CROSS JOIN LATERAL (
                SELECT count(*) AS total, sum(amount) AS amount,
                       bool_and(locked AND callback_state = 'missing'
                                AND line.manufacturer_org_id = log.manufacturer_org_id) AS fresh
                FROM t_akselgate_transaction_rows AS line WHERE line.attempt_id = log.id) AS lines
            WHERE NOT log.imported
              AND (lines.total <> log.total_transaksi OR lines.amount <> log.control_sum OR NOT lines.fresh)
        ) THEN
            RAISE EXCEPTION 'the rows are not those of their attempt' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    (
        "CREATE TRIGGER check_rows AFTER INSERT ON t_akselgate_transaction_rows REFERENCING NEW TABLE AS added"
        " FOR EACH STATEMENT EXECUTE FUNCTION akselgate_check_rows()"
    ),
    # A failure frees the reference; contradicting reports lock it again, unless another attempt holds it by now.
    f"""
    CREATE FUNCTION akselgate_guard_row() RETURNS trigger {DEFINER} AS $$
    DECLARE
        allowed t_akselgate_transaction_rows := OLD;
    BEGIN
        IF pg_trigger_depth() > 1 THEN
            allowed.locked := false;
        ELSIF OLD.callback_state = 'missing' AND NEW.callback_state IN ('ok', 'failed', 'conflict')
              OR OLD.callback_state IN ('ok', 'failed') AND NEW.callback_state = 'conflict' THEN
            NEW.locked := CASE NEW.callback_state
                WHEN 'failed' THEN false
                WHEN 'conflict' THEN OLD.locked OR NOT EXISTS (
                    SELECT FROM t_akselgate_transaction_rows AS other
                    WHERE other.reference_number = OLD.reference_number AND other.locked)
                ELSE OLD.locked END;
            allowed.locked := NEW.locked;
            allowed.callback_state := NEW.callback_state;
            allowed.callback_at := NEW.callback_at;
        END IF;
        IF NEW IS NOT DISTINCT FROM OLD OR NEW IS DISTINCT FROM allowed THEN
            RAISE EXCEPTION 'row % of attempt % may not be changed in this way', OLD.row_number, OLD.attempt_id
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    (
        "CREATE TRIGGER guard_row BEFORE UPDATE ON t_akselgate_transaction_rows"
        " FOR EACH ROW EXECUTE FUNCTION akselgate_guard_row()"
    ),
    # What moves an attempt after its answer is an event: nothing can move it and leave none.
    f"""
    CREATE FUNCTION akselgate_apply_event() RETURNS trigger {DEFINER} AS $$
    BEGIN
        IF NEW.kind = 'resolved' THEN
            UPDATE t_akselgate_transaction_log
            SET outcome = NEW.outcome, is_success = CASE NEW.outcome WHEN 'accepted' THEN 1 ELSE 0 END
            WHERE id = NEW.attempt_id AND manufacturer_org_id = NEW.manufacturer_org_id AND outcome = 'unknown';
        ELSE
            DELETE FROM t_akselgate_open_attempts AS held USING t_akselgate_transaction_log AS log
            WHERE held.attempt_id = NEW.attempt_id AND log.id = held.attempt_id AND log.outcome = 'accepted'
              AND log.manufacturer_org_id = NEW.manufacturer_org_id
              AND NOT EXISTS (SELECT FROM t_akselgate_transaction_rows AS line
                              WHERE line.attempt_id = log.id AND line.callback_state = 'missing');
        END IF;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'attempt % cannot be % now', NEW.attempt_id, NEW.kind
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    (
        "CREATE TRIGGER apply_event AFTER INSERT ON t_akselgate_events"
        " FOR EACH ROW WHEN (NEW.kind IN ('resolved', 'closed')) EXECUTE FUNCTION akselgate_apply_event()"
    ),
    """
    CREATE FUNCTION akselgate_guard_open() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_trigger_depth() < 2 THEN
            RAISE EXCEPTION 'open attempts follow from the log: % is refused', TG_OP
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    (
        "CREATE TRIGGER guard_open BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON t_akselgate_open_attempts"
        " FOR EACH STATEMENT EXECUTE FUNCTION akselgate_guard_open()"
    ),
    (
        "CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON t_akselgate_transaction_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    ),
    (
        "CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON t_akselgate_transaction_rows"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    ),
    (
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON t_akselgate_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    ),
)

FUNCTIONS = (
    "akselgate_begin_attempt",
    "akselgate_open_attempt",
    "akselgate_guard_attempt",
    "akselgate_release_attempt",
    "akselgate_check_rows",
    "akselgate_guard_row",
    "akselgate_apply_event",
    "akselgate_guard_open",
)


def upgrade() -> None:
    op.create_table(
        "t_akselgate_transaction_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transaction_type", sa.Text(), nullable=False),
        sa.Column("kd_settle", sa.String(length=50), nullable=False),
        sa.Column("request_id", sa.String(length=100), nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("total_transaksi", sa.Integer(), nullable=False),
        sa.Column("request_payload", sa.Text(), nullable=False),
        sa.Column("payload_sha256", sa.Text(), nullable=False),
        sa.Column("control_sum", sa.Numeric(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status_code_res", sa.Text(), nullable=True),
        sa.Column("response_code", sa.Text(), nullable=True),
        sa.Column("response_message", sa.Text(), nullable=True),
        sa.Column("response_payload", sa.Text(), nullable=True),
        sa.Column("is_success", sa.SmallInteger(), nullable=True),
        sa.Column("is_latest", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("sent_by", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("imported", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'sending') = (status_code_res IS NULL)", name=op.f("ck_t_akselgate_transaction_log_answered")
        ),
        sa.CheckConstraint(
            "is_success IS NOT DISTINCT FROM CASE outcome WHEN 'accepted' THEN 1 WHEN 'rejected' THEN 0 WHEN 'not_sent' THEN 0 END",
            name=op.f("ck_t_akselgate_transaction_log_is_success"),
        ),
        sa.CheckConstraint(
            "outcome IN ('sending', 'accepted', 'rejected', 'not_sent', 'unknown')",
            name=op.f("ck_t_akselgate_transaction_log_outcome"),
        ),
        sa.CheckConstraint(
            "transaction_type IN ('CA_ESCROW', 'ESCROW_BILLER_PL')",
            name=op.f("ck_t_akselgate_transaction_log_transaction_type"),
        ),
        sa.CheckConstraint("attempt_number >= 1", name=op.f("ck_t_akselgate_transaction_log_attempt_number")),
        sa.CheckConstraint("imported OR request_id = id::text", name=op.f("ck_t_akselgate_transaction_log_request_id")),
        sa.CheckConstraint("is_latest IN (0, 1)", name=op.f("ck_t_akselgate_transaction_log_is_latest")),
        sa.CheckConstraint("total_transaksi >= 1", name=op.f("ck_t_akselgate_transaction_log_total_transaksi")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_t_akselgate_transaction_log")),
        sa.UniqueConstraint("kd_settle", "transaction_type", "attempt_number", name="uq_akselgate_attempt_number"),
    )
    op.create_index(
        "ix_akselgate_log_key",
        "t_akselgate_transaction_log",
        ["manufacturer_org_id", "idempotency_key"],
        unique=False,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("ix_akselgate_log_org", "t_akselgate_transaction_log", ["manufacturer_org_id", "id"], unique=False)
    op.create_index("ix_akselgate_log_request_id", "t_akselgate_transaction_log", ["request_id"], unique=False)
    op.create_index(
        "ix_akselgate_log_sending",
        "t_akselgate_transaction_log",
        ["sent_at"],
        unique=False,
        postgresql_where=sa.text("outcome = 'sending'"),
    )
    op.create_index(
        "ix_akselgate_log_sent_at", "t_akselgate_transaction_log", ["manufacturer_org_id", "sent_at"], unique=False
    )
    op.create_index(
        "uq_akselgate_latest",
        "t_akselgate_transaction_log",
        ["kd_settle", "transaction_type"],
        unique=True,
        postgresql_where=sa.text("is_latest = 1"),
    )
    op.create_table(
        "t_akselgate_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("reference_number", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("result_reference", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint("(kind = 'resolved') = (outcome IS NOT NULL)", name=op.f("ck_t_akselgate_events_outcome")),
        sa.CheckConstraint(
            "kind IN ('callback', 'unknown_reference', 'unreadable_callback', 'conflict', 'late_response', 'swept', 'resolved', 'closed')",
            name=op.f("ck_t_akselgate_events_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["t_akselgate_transaction_log.id"], name="fk_akselgate_events_attempt_id"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_t_akselgate_events")),
    )
    op.create_index("ix_akselgate_events_attempt_id", "t_akselgate_events", ["attempt_id", "id"], unique=False)
    op.create_index(
        "uq_akselgate_events_callback",
        "t_akselgate_events",
        ["attempt_id", "reference_number", "result", "result_reference"],
        unique=True,
        postgresql_where=sa.text("kind IN ('callback', 'unknown_reference', 'unreadable_callback')"),
    )
    op.create_table(
        "t_akselgate_open_attempts",
        sa.Column("kd_settle", sa.String(length=50), nullable=False),
        sa.Column("transaction_type", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["t_akselgate_transaction_log.id"], name="fk_akselgate_open_attempt_id"
        ),
        sa.PrimaryKeyConstraint("kd_settle", "transaction_type", name="pk_akselgate_open"),
        sa.UniqueConstraint("attempt_id", name="uq_akselgate_open_attempt_id"),
    )
    op.create_table(
        "t_akselgate_transaction_rows",
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("reference_number", sa.String(length=15), nullable=False),
        sa.Column("debit_account", sa.Text(), nullable=False),
        sa.Column("credit_account", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("callback_state", sa.Text(), server_default=sa.text("'missing'"), nullable=False),
        sa.Column("callback_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("locked", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("manufacturer_org_id", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "(callback_state = 'missing') = (callback_at IS NULL)",
            name=op.f("ck_t_akselgate_transaction_rows_callback_at"),
        ),
        sa.CheckConstraint(
            "callback_state IN ('missing', 'ok', 'failed', 'conflict')",
            name=op.f("ck_t_akselgate_transaction_rows_callback_state"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["t_akselgate_transaction_log.id"], name="fk_akselgate_rows_attempt_id"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "row_number", name="pk_akselgate_rows"),
        sa.UniqueConstraint("attempt_id", "reference_number", name="uq_akselgate_rows_reference"),
    )
    op.create_index(
        "ix_akselgate_rows_missing",
        "t_akselgate_transaction_rows",
        ["attempt_id"],
        unique=False,
        postgresql_where=sa.text("callback_state = 'missing'"),
    )
    op.create_index(
        "uq_akselgate_reference_locked",
        "t_akselgate_transaction_rows",
        ["reference_number"],
        unique=True,
        postgresql_where=sa.text("locked"),
    )
    role = op.get_context().opts["tenant_role"]
    for table, rights in RIGHTS.items():
        op.execute(f"GRANT {rights} ON {table} TO {role}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} TO {role} USING ({OWN}) WITH CHECK ({OWN})")
    op.execute(SEQUENCE.format(role=role))
    for statement in GUARDS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index(
        "uq_akselgate_reference_locked", table_name="t_akselgate_transaction_rows", postgresql_where=sa.text("locked")
    )
    op.drop_index(
        "ix_akselgate_rows_missing",
        table_name="t_akselgate_transaction_rows",
        postgresql_where=sa.text("callback_state = 'missing'"),
    )
    op.drop_table("t_akselgate_transaction_rows")
    op.drop_table("t_akselgate_open_attempts")
    op.drop_index(
        "uq_akselgate_events_callback",
        table_name="t_akselgate_events",
        postgresql_where=sa.text("kind IN ('callback', 'unknown_reference', 'unreadable_callback')"),
    )
    op.drop_index("ix_akselgate_events_attempt_id", table_name="t_akselgate_events")
    op.drop_table("t_akselgate_events")
    op.drop_index(
        "uq_akselgate_latest", table_name="t_akselgate_transaction_log", postgresql_where=sa.text("is_latest = 1")
    )
    op.drop_index("ix_akselgate_log_sent_at", table_name="t_akselgate_transaction_log")
    op.drop_index(
        "ix_akselgate_log_sending",
        table_name="t_akselgate_transaction_log",
        postgresql_where=sa.text("outcome = 'sending'"),
    )
    op.drop_index("ix_akselgate_log_request_id", table_name="t_akselgate_transaction_log")
    op.drop_index("ix_akselgate_log_org", table_name="t_akselgate_transaction_log")
    op.drop_index(
        "ix_akselgate_log_key",
        table_name="t_akselgate_transaction_log",
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.drop_table("t_akselgate_transaction_log")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}()")
