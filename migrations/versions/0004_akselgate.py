"""Settlement dispatch: attempts, their rows and events, and the triggers that prevent a double payment."""

from collections.abc import Sequence

from alembic import op

from qrtrack.postgresql.tenancy import enforce_tenancy, tenant_role

revision: str = "0004_akselgate"
down_revision: str | None = "0003_accurate"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# settlement_key and reference_key ignore case. They are generated columns and not indexes on lower(): under row-level
# security PostgreSQL uses no index on a function that is not leakproof. Collation "C" lowers ASCII only, in any locale.
# stale_at: its default is twice the longest deadline that can be set, for programs that insert an attempt without it.
TABLES = (
    """
    CREATE TABLE t_akselgate_transaction_log (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_t_akselgate_transaction_log PRIMARY KEY,
        transaction_type text NOT NULL,
        kd_settle varchar(50) NOT NULL,
        request_id varchar(100) NOT NULL,
        attempt_number integer NOT NULL,
        total_transaksi integer NOT NULL,
        request_payload text NOT NULL,
        payload_sha256 text NOT NULL,
        control_sum numeric NOT NULL,
        outcome text NOT NULL,
        status_code_res text,
        response_code text,
        response_message text,
        response_payload text,
        is_success smallint,
        is_latest smallint DEFAULT 1 NOT NULL,
        sent_by text NOT NULL,
        sent_at timestamptz DEFAULT now() NOT NULL,
        idempotency_key text,
        imported boolean DEFAULT false NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        stale_at timestamptz DEFAULT now() + interval '20 minutes' NOT NULL,
        settlement_key text GENERATED ALWAYS AS (lower(kd_settle COLLATE "C")) STORED NOT NULL,
        CONSTRAINT uq_akselgate_attempt_number UNIQUE (settlement_key, transaction_type, attempt_number),
        CONSTRAINT uq_akselgate_log_org UNIQUE (manufacturer_org_id, id),
        CONSTRAINT ck_t_akselgate_transaction_log_answered
            CHECK ((outcome = 'sending') = (status_code_res IS NULL)),
        CONSTRAINT ck_t_akselgate_transaction_log_is_success
            CHECK (is_success IS NOT DISTINCT FROM
                CASE outcome WHEN 'accepted' THEN 1 WHEN 'rejected' THEN 0 WHEN 'not_sent' THEN 0 END),
        CONSTRAINT ck_t_akselgate_transaction_log_outcome
            CHECK (outcome IN ('sending', 'accepted', 'rejected', 'not_sent', 'unknown')),
        CONSTRAINT ck_t_akselgate_transaction_log_transaction_type
            CHECK (transaction_type IN ('CA_ESCROW', 'ESCROW_BILLER_PL')),
        CONSTRAINT ck_t_akselgate_transaction_log_attempt_number CHECK (attempt_number >= 1),
        CONSTRAINT ck_t_akselgate_transaction_log_request_id CHECK (imported OR request_id = id::text),
        CONSTRAINT ck_t_akselgate_transaction_log_is_latest CHECK (is_latest IN (0, 1)),
        CONSTRAINT ck_t_akselgate_transaction_log_total_transaksi CHECK (total_transaksi >= 1),
        CONSTRAINT ck_t_akselgate_transaction_log_kd_settle CHECK (imported OR kd_settle ~ '^[!-~]([ -~]*[!-~])?$')
    )
    """,
    """
    CREATE INDEX ix_akselgate_log_key ON t_akselgate_transaction_log (manufacturer_org_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """,
    "CREATE INDEX ix_akselgate_log_request_id ON t_akselgate_transaction_log (request_id)",
    "CREATE INDEX ix_akselgate_log_sent_at ON t_akselgate_transaction_log (manufacturer_org_id, sent_at)",
    "CREATE INDEX ix_akselgate_log_sending ON t_akselgate_transaction_log (stale_at) WHERE outcome = 'sending'",
    """
    CREATE UNIQUE INDEX uq_akselgate_latest ON t_akselgate_transaction_log (settlement_key, transaction_type)
        WHERE is_latest = 1
    """,
    """
    CREATE TABLE t_akselgate_transaction_rows (
        attempt_id bigint,
        row_number integer,
        reference_number varchar(15) NOT NULL,
        debit_account text NOT NULL,
        credit_account text NOT NULL,
        amount numeric NOT NULL,
        description text NOT NULL,
        callback_state text DEFAULT 'missing' NOT NULL,
        callback_at timestamptz,
        locked boolean DEFAULT true NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        reference_key text GENERATED ALWAYS AS (lower(reference_number COLLATE "C")) STORED NOT NULL,
        CONSTRAINT pk_akselgate_rows PRIMARY KEY (attempt_id, row_number),
        CONSTRAINT uq_akselgate_rows_reference UNIQUE (reference_key, attempt_id),
        CONSTRAINT fk_akselgate_rows_attempt_id
            FOREIGN KEY (manufacturer_org_id, attempt_id)
            REFERENCES t_akselgate_transaction_log (manufacturer_org_id, id),
        CONSTRAINT ck_t_akselgate_transaction_rows_callback_at
            CHECK ((callback_state = 'missing') = (callback_at IS NULL)),
        CONSTRAINT ck_t_akselgate_transaction_rows_callback_state
            CHECK (callback_state IN ('missing', 'ok', 'failed', 'conflict'))
    )
    """,
    """
    CREATE INDEX ix_akselgate_rows_missing ON t_akselgate_transaction_rows (attempt_id)
        WHERE callback_state = 'missing'
    """,
    "CREATE UNIQUE INDEX uq_akselgate_reference_locked ON t_akselgate_transaction_rows (reference_key) WHERE locked",
    """
    CREATE TABLE t_akselgate_open_attempts (
        kd_settle varchar(50) NOT NULL,
        transaction_type text,
        attempt_id bigint NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        settlement_key text GENERATED ALWAYS AS (lower(kd_settle COLLATE "C")) STORED,
        CONSTRAINT pk_akselgate_open PRIMARY KEY (settlement_key, transaction_type),
        CONSTRAINT uq_akselgate_open_attempt_id UNIQUE (attempt_id),
        CONSTRAINT fk_akselgate_open_attempt_id
            FOREIGN KEY (manufacturer_org_id, attempt_id)
            REFERENCES t_akselgate_transaction_log (manufacturer_org_id, id)
    )
    """,
    """
    CREATE TABLE t_akselgate_events (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_t_akselgate_events PRIMARY KEY,
        attempt_id bigint NOT NULL,
        kind text NOT NULL,
        occurred_at timestamptz DEFAULT now() NOT NULL,
        actor text NOT NULL,
        outcome text,
        note text,
        reference_number text,
        result text,
        result_reference text,
        details jsonb DEFAULT '{}' NOT NULL,
        manufacturer_org_id uuid NOT NULL,
        CONSTRAINT fk_akselgate_events_attempt_id
            FOREIGN KEY (manufacturer_org_id, attempt_id)
            REFERENCES t_akselgate_transaction_log (manufacturer_org_id, id),
        CONSTRAINT ck_t_akselgate_events_outcome CHECK ((kind = 'resolved') = (outcome IS NOT NULL)),
        CONSTRAINT ck_t_akselgate_events_kind
            CHECK (kind IN ('callback', 'unknown_reference', 'unreadable_callback', 'conflict', 'late_response',
                'swept', 'resolved', 'closed', 'doubted_refusal'))
    )
    """,
    "CREATE INDEX ix_akselgate_events_attempt_id ON t_akselgate_events (attempt_id, id)",
    """
    CREATE UNIQUE INDEX uq_akselgate_events_callback
        ON t_akselgate_events (attempt_id, reference_number, result, result_reference)
        WHERE kind IN ('callback', 'unknown_reference', 'unreadable_callback')
    """,
    """
    CREATE INDEX ix_akselgate_events_alarming ON t_akselgate_events (occurred_at)
        WHERE kind IN ('conflict', 'unknown_reference', 'unreadable_callback', 'late_response')
    """,
)

# The functions run with the rights of the tables' owner: they write what the role of requests may not (`locked`, the
# open attempts).
DEFINER = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

ATTEMPT_TRIGGERS = (
    # The next attempt takes `is_latest` from the one before. Nothing else changes `is_latest`.
    f"""
    CREATE FUNCTION akselgate_begin_attempt() RETURNS trigger {DEFINER} AS $$
    BEGIN
        IF NOT NEW.imported AND (NEW.outcome <> 'sending' OR NEW.is_latest <> 1) THEN
            RAISE EXCEPTION 'an attempt begins as the latest, and sending' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.is_latest = 1 THEN
            UPDATE t_akselgate_transaction_log SET is_latest = 0
            WHERE settlement_key = lower(NEW.kd_settle COLLATE "C") AND transaction_type = NEW.transaction_type
              AND is_latest = 1;
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER begin_attempt BEFORE INSERT ON t_akselgate_transaction_log
        FOR EACH ROW EXECUTE FUNCTION akselgate_begin_attempt()
    """,
    # At most one attempt of a settlement is open: the primary key of the open attempts refuses a second one.
    f"""
    CREATE FUNCTION akselgate_open_attempt() RETURNS trigger {DEFINER} AS $$
    BEGIN
        INSERT INTO t_akselgate_open_attempts (kd_settle, transaction_type, attempt_id, manufacturer_org_id)
        VALUES (NEW.kd_settle, NEW.transaction_type, NEW.id, NEW.manufacturer_org_id);
        RETURN NULL;
    END $$
    """,
    # Of an imported history only the newest attempt decides whether the settlement may be sent again.
    """
    CREATE TRIGGER open_attempt AFTER INSERT ON t_akselgate_transaction_log FOR EACH ROW
    WHEN (NEW.outcome NOT IN ('rejected', 'not_sent') AND (NOT NEW.imported OR NEW.is_latest = 1))
    EXECUTE FUNCTION akselgate_open_attempt()
    """,
    # Three updates are allowed: the next attempt clears `is_latest`, an event resolves an unknown outcome, and the
    # answer or the sweeper ends `sending`. pg_trigger_depth() alone proves nothing, since anybody may put a trigger on
    # a table of their own, so the update of an unknown outcome requires the event. settlement_key is left out of the
    # comparison: a generated column is still empty in NEW when a BEFORE trigger runs.
    f"""
    CREATE FUNCTION akselgate_guard_attempt() RETURNS trigger {DEFINER} AS $$
    DECLARE
        allowed t_akselgate_transaction_log := OLD;
        by_trigger boolean := pg_trigger_depth() > 1;
    BEGIN
        IF by_trigger AND OLD.is_latest = 1 AND NEW.is_latest = 0 THEN
            allowed.is_latest := 0;
        ELSIF by_trigger AND OLD.outcome = 'unknown' AND EXISTS (
                SELECT FROM t_akselgate_events AS event
                WHERE event.attempt_id = OLD.id AND event.kind = 'resolved' AND event.outcome = NEW.outcome) THEN
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
        allowed.settlement_key := NEW.settlement_key;
        IF NEW IS DISTINCT FROM allowed THEN
            RAISE EXCEPTION 'what attempt % has sent may not be changed', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER guard_attempt BEFORE UPDATE ON t_akselgate_transaction_log
        FOR EACH ROW EXECUTE FUNCTION akselgate_guard_attempt()
    """,
    # A rejected or unsent attempt unlocks its references, except those that a callback has reported as paid.
    f"""
    CREATE FUNCTION akselgate_release_attempt() RETURNS trigger {DEFINER} AS $$
    BEGIN
        UPDATE t_akselgate_transaction_rows SET locked = false
        WHERE attempt_id = NEW.id AND locked AND callback_state = 'missing';
        DELETE FROM t_akselgate_open_attempts WHERE attempt_id = NEW.id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER release_attempt AFTER UPDATE ON t_akselgate_transaction_log FOR EACH ROW
    WHEN (NEW.outcome IN ('rejected', 'not_sent') AND OLD.outcome IS DISTINCT FROM NEW.outcome)
    EXECUTE FUNCTION akselgate_release_attempt()
    """,
)

ROW_TRIGGERS = (
    # One statement inserts all rows of an attempt: their number and sum must be those that the attempt states, and all
    # rows must be locked. Imported attempts are not checked.
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
    """
    CREATE TRIGGER check_rows AFTER INSERT ON t_akselgate_transaction_rows REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION akselgate_check_rows()
    """,
    # Only the refusal of its attempt or a stored callback changes a row. A failure unlocks the reference. Contradicting
    # callbacks lock it again, unless another attempt holds it by now.
    f"""
    CREATE FUNCTION akselgate_guard_row() RETURNS trigger {DEFINER} AS $$
    DECLARE
        before t_akselgate_transaction_rows := OLD;
        allowed t_akselgate_transaction_rows;
    BEGIN
        before.reference_key := NEW.reference_key;
        allowed := before;
        IF NEW.callback_state = OLD.callback_state THEN
            IF OLD.callback_state = 'missing' AND EXISTS (
                    SELECT FROM t_akselgate_transaction_log AS log
                    WHERE log.id = OLD.attempt_id AND log.outcome IN ('rejected', 'not_sent')) THEN
                allowed.locked := false;
            END IF;
        ELSIF (OLD.callback_state = 'missing' AND NEW.callback_state IN ('ok', 'failed', 'conflict')
               OR OLD.callback_state IN ('ok', 'failed') AND NEW.callback_state = 'conflict') AND EXISTS (
                SELECT FROM t_akselgate_events AS event
                WHERE event.attempt_id = OLD.attempt_id AND event.reference_number = OLD.reference_number
                  AND event.kind = 'callback'
                  AND (NEW.callback_state = 'conflict' OR (event.result = '00') = (NEW.callback_state = 'ok'))) THEN
            NEW.locked := CASE NEW.callback_state
                WHEN 'failed' THEN false
                WHEN 'conflict' THEN OLD.locked OR NOT EXISTS (
                    SELECT FROM t_akselgate_transaction_rows AS other
                    WHERE other.reference_key = OLD.reference_key AND other.locked)
                ELSE OLD.locked END;
            allowed.locked := NEW.locked;
            allowed.callback_state := NEW.callback_state;
            allowed.callback_at := NEW.callback_at;
        END IF;
        IF NEW IS NOT DISTINCT FROM before OR NEW IS DISTINCT FROM allowed THEN
            RAISE EXCEPTION 'row % of attempt % may not be changed in this way', OLD.row_number, OLD.attempt_id
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER guard_row BEFORE UPDATE ON t_akselgate_transaction_rows
        FOR EACH ROW EXECUTE FUNCTION akselgate_guard_row()
    """,
)

EVENT_TRIGGERS = (
    # The rule of `is_same_person` in the program: UUIDs are equal in any spelling, other names in any case.
    r"""
    CREATE FUNCTION user_in_normal_form(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT regexp_replace(
            lower(btrim(name)),
            '^(?:urn:)?(?:uuid:)?\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$',
            '\1-\2-\3-\4-\5')
    $$
    """,
    # After its answer, only an event changes the outcome of an attempt, or ends its block on the settlement. The sender
    # cannot resolve the unknown outcome, and an attempt with a paid row cannot be resolved as unpaid, whatever the
    # program has read before. The lock is a separate statement: the next statement then sees the callbacks that were
    # committed while the lock waited.
    f"""
    CREATE FUNCTION akselgate_apply_event() RETURNS trigger {DEFINER} AS $$
    BEGIN
        PERFORM FROM t_akselgate_transaction_log WHERE id = NEW.attempt_id FOR UPDATE;
        IF NEW.kind = 'resolved' THEN
            UPDATE t_akselgate_transaction_log
            SET outcome = NEW.outcome, is_success = CASE NEW.outcome WHEN 'accepted' THEN 1 ELSE 0 END
            WHERE id = NEW.attempt_id AND manufacturer_org_id = NEW.manufacturer_org_id AND outcome = 'unknown'
              AND user_in_normal_form(sent_by) <> user_in_normal_form(NEW.actor)
              AND (NEW.outcome = 'accepted' OR NOT EXISTS (
                  SELECT FROM t_akselgate_transaction_rows AS line
                  WHERE line.attempt_id = NEW.attempt_id AND line.callback_state IN ('ok', 'conflict')));
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
    """
    CREATE TRIGGER apply_event AFTER INSERT ON t_akselgate_events FOR EACH ROW
    WHEN (NEW.kind IN ('resolved', 'closed')) EXECUTE FUNCTION akselgate_apply_event()
    """,
    # Only the triggers above change the open attempts: statements of requests and of the tables' owner are refused.
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
    """
    CREATE TRIGGER guard_open BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON t_akselgate_open_attempts
        FOR EACH STATEMENT EXECUTE FUNCTION akselgate_guard_open()
    """,
)

APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE {changes} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""
REFUSED_CHANGES = {
    "t_akselgate_transaction_log": "DELETE OR TRUNCATE",
    "t_akselgate_transaction_rows": "DELETE OR TRUNCATE",
    "t_akselgate_events": "UPDATE OR DELETE OR TRUNCATE",
}

# Requests insert and change only the columns that they have to.
RIGHTS = {
    "t_akselgate_transaction_log": """
        SELECT,
        INSERT (id, manufacturer_org_id, transaction_type, kd_settle, request_id, attempt_number, total_transaksi,
                request_payload, payload_sha256, control_sum, outcome, sent_by, idempotency_key, stale_at),
        UPDATE (outcome, is_success, status_code_res, response_code, response_message, response_payload)""",
    "t_akselgate_transaction_rows": """
        SELECT,
        INSERT (attempt_id, manufacturer_org_id, row_number, reference_number, debit_account, credit_account, amount,
                description),
        UPDATE (callback_state, callback_at)""",
    "t_akselgate_open_attempts": "SELECT",
    "t_akselgate_events": """
        SELECT,
        INSERT (attempt_id, manufacturer_org_id, kind, actor, outcome, note, reference_number, result,
                result_reference, details)""",
}


def upgrade() -> None:
    for statement in (*TABLES, *ATTEMPT_TRIGGERS, *ROW_TRIGGERS, *EVENT_TRIGGERS):
        op.execute(statement)
    for table, changes in REFUSED_CHANGES.items():
        op.execute(APPEND_ONLY.format(table=table, changes=changes))
    enforce_tenancy(RIGHTS)
    # A request draws the id before it inserts the row, because the bytes that it sends contain the id.
    op.execute(f"GRANT USAGE ON SEQUENCE t_akselgate_transaction_log_id_seq TO {tenant_role()}")


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(RIGHTS)}")
    op.execute(
        """
        DROP FUNCTION akselgate_begin_attempt(), akselgate_open_attempt(), akselgate_guard_attempt(),
            akselgate_release_attempt(), akselgate_check_rows(), akselgate_guard_row(), akselgate_apply_event(),
            akselgate_guard_open(), user_in_normal_form(text)
        """
    )
