"""Settlements and references are one whatever their case, a person is one however the token spells them, and a refusal
that may hide a payment leaves an event.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_money_allow_list"
down_revision: str | None = "20261122_leased_groups"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DEFINER = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
LOG, ROWS, OPEN, EVENTS = (
    "t_akselgate_transaction_log",
    "t_akselgate_transaction_rows",
    "t_akselgate_open_attempts",
    "t_akselgate_events",
)
# A generated column and not an index on lower(): under row-level security PostgreSQL uses no index on a function that
# is not leakproof. The collation "C" lowers ASCII alone, and in every locale alike.
KEYS = {
    LOG: ("settlement_key", "kd_settle"),
    OPEN: ("settlement_key", "kd_settle"),
    ROWS: ("reference_key", "reference_number"),
}
PRINTABLE = "imported OR kd_settle ~ '^[!-~]([ -~]*[!-~])?$'"
KINDS = (
    "callback", "unknown_reference", "unreadable_callback", "conflict", "late_response", "swept", "resolved", "closed",
)  # fmt: skip

FUNCTIONS = (
    # As `is_same_person` in the program: a UUID is one in any spelling, another name in any case.
    r"""
    CREATE FUNCTION user_in_normal_form(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT regexp_replace(
            lower(btrim(name)),
            '^(?:urn:)?(?:uuid:)?\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$',
            '\1-\2-\3-\4-\5')
    $$
    """,
    f"""
    CREATE OR REPLACE FUNCTION akselgate_begin_attempt() RETURNS trigger {DEFINER} AS $$
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
    # A generated column is still empty in NEW when a BEFORE trigger runs: it is left out of the comparison.
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
        allowed.settlement_key := NEW.settlement_key;
        IF NEW IS DISTINCT FROM allowed THEN
            RAISE EXCEPTION 'what attempt % has sent may not be changed', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    f"""
    CREATE OR REPLACE FUNCTION akselgate_guard_row() RETURNS trigger {DEFINER} AS $$
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
    f"""
    CREATE OR REPLACE FUNCTION akselgate_apply_event() RETURNS trigger {DEFINER} AS $$
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
)


def upgrade() -> None:
    for table, (key, column) in KEYS.items():
        lowered = sa.Computed(f'lower({column} COLLATE "C")', persisted=True)
        op.add_column(table, sa.Column(key, sa.Text(), lowered, nullable=False))
    _replace_keys(settlement="settlement_key", reference="reference_key")
    op.create_check_constraint(op.f(f"ck_{LOG}_kd_settle"), LOG, PRINTABLE)
    _allow_kinds(*KINDS, "doubted_refusal")
    for function in FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before: the older guards would let spellings differ.")


def _replace_keys(*, settlement: str, reference: str) -> None:
    op.drop_constraint("uq_akselgate_attempt_number", LOG)
    op.create_unique_constraint("uq_akselgate_attempt_number", LOG, [settlement, "transaction_type", "attempt_number"])
    op.drop_index("uq_akselgate_latest", LOG)
    op.create_index(
        "uq_akselgate_latest",
        LOG,
        [settlement, "transaction_type"],
        unique=True,
        postgresql_where=sa.text("is_latest = 1"),
    )
    op.drop_constraint("pk_akselgate_open", OPEN)
    op.create_primary_key("pk_akselgate_open", OPEN, [settlement, "transaction_type"])
    op.drop_constraint("uq_akselgate_rows_reference", ROWS)
    op.create_unique_constraint("uq_akselgate_rows_reference", ROWS, [reference, "attempt_id"])
    op.drop_index("uq_akselgate_reference_locked", ROWS)
    op.create_index("uq_akselgate_reference_locked", ROWS, [reference], unique=True, postgresql_where=sa.text("locked"))


def _allow_kinds(*kinds: str) -> None:
    op.drop_constraint(op.f(f"ck_{EVENTS}_kind"), EVENTS)
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    op.create_check_constraint(op.f(f"ck_{EVENTS}_kind"), EVENTS, f"kind IN ({listed})")
