"""The guards of the money ask the tables for proof, and a request may write only the columns that it has to."""

from collections.abc import Sequence

from alembic import op
from sqlalchemy import text

revision: str = "20261122_dispatch_guards"
down_revision: str | None = "20261122_notifications"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DEFINER = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

GUARDS = (
    # To be inside a trigger proves nothing: anybody may put one on a table of their own. The event that resolves does.
    f"""
    CREATE OR REPLACE FUNCTION akselgate_guard_attempt() RETURNS trigger {DEFINER} AS $$
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
        IF NEW IS DISTINCT FROM allowed THEN
            RAISE EXCEPTION 'what attempt % has sent may not be changed', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    # A row changes with its attempt's refusal, or with the callback that was kept before it: nothing else frees it.
    f"""
    CREATE OR REPLACE FUNCTION akselgate_guard_row() RETURNS trigger {DEFINER} AS $$
    DECLARE
        allowed t_akselgate_transaction_rows := OLD;
    BEGIN
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
    # Two persons, and what is paid is not called unpaid: held here too, whatever a program has looked at before. The
    # lock comes first, so that the statement after it sees the callbacks that it has waited for.
    f"""
    CREATE OR REPLACE FUNCTION akselgate_apply_event() RETURNS trigger {DEFINER} AS $$
    BEGIN
        PERFORM FROM t_akselgate_transaction_log WHERE id = NEW.attempt_id FOR UPDATE;
        IF NEW.kind = 'resolved' THEN
            UPDATE t_akselgate_transaction_log
            SET outcome = NEW.outcome, is_success = CASE NEW.outcome WHEN 'accepted' THEN 1 ELSE 0 END
            WHERE id = NEW.attempt_id AND manufacturer_org_id = NEW.manufacturer_org_id AND outcome = 'unknown'
              AND sent_by <> NEW.actor
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
)

OPEN = (
    "CREATE OR REPLACE TRIGGER open_attempt AFTER INSERT ON t_akselgate_transaction_log"
    " FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION akselgate_open_attempt()"
)
# Of an imported history only the newest attempt says whether the settlement may be sent again.
NOT_OVER = "NEW.outcome NOT IN ('rejected', 'not_sent')"
NOT_OVER_AND_NEWEST = f"{NOT_OVER} AND (NOT NEW.imported OR NEW.is_latest = 1)"

WRITTEN = {
    "t_akselgate_transaction_log": (
        "id, manufacturer_org_id, transaction_type, kd_settle, request_id, attempt_number, total_transaksi,"
        " request_payload, payload_sha256, control_sum, outcome, sent_by, idempotency_key"
    ),
    "t_akselgate_transaction_rows": (
        "attempt_id, manufacturer_org_id, row_number, reference_number, debit_account, credit_account, amount,"
        " description"
    ),
    "t_akselgate_events": (
        "attempt_id, manufacturer_org_id, kind, actor, outcome, note, reference_number, result, result_reference,"
        " details"
    ),
}
CHANGED = {
    "t_akselgate_transaction_log": (
        "outcome, is_success, status_code_res, response_code, response_message, response_payload"
    ),
    "t_akselgate_transaction_rows": "callback_state, callback_at",
}


def upgrade() -> None:
    for statement in GUARDS:
        op.execute(statement)
    op.execute(OPEN.format(condition=NOT_OVER_AND_NEWEST))
    role = op.get_context().opts["tenant_role"]
    for table, columns in WRITTEN.items():
        op.execute(f"REVOKE INSERT, UPDATE ON {table} FROM {role}")
        op.execute(f"GRANT INSERT ({columns}) ON {table} TO {role}")
    for table, columns in CHANGED.items():
        op.execute(f"GRANT UPDATE ({columns}) ON {table} TO {role}")
    op.create_index(
        "ix_akselgate_events_alarming",
        "t_akselgate_events",
        ["occurred_at"],
        postgresql_where=text("kind IN ('conflict', 'unknown_reference', 'unreadable_callback', 'late_response')"),
    )


def downgrade() -> None:
    """The stricter functions stay: the program before this one works with them."""
    op.drop_index("ix_akselgate_events_alarming", table_name="t_akselgate_events")
    role = op.get_context().opts["tenant_role"]
    for table in WRITTEN:
        op.execute(f"GRANT INSERT ON {table} TO {role}")
    for table in CHANGED:
        op.execute(f"GRANT UPDATE ON {table} TO {role}")
    op.execute(OPEN.format(condition=NOT_OVER))
