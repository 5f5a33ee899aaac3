"""What triggers and constraints refuse, whoever sends the SQL."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from qrtrack.domain.akselgate.faults import Fault
from treasury import Treasury

NO_STEPS = [
    "UPDATE t_akselgate_transaction_log SET request_payload = '{}'",
    "UPDATE t_akselgate_transaction_log SET sent_by = 'somebody else'",
    "UPDATE t_akselgate_transaction_log SET sent_at = now()",
    "UPDATE t_akselgate_transaction_log SET outcome = 'rejected', is_success = 0",
    "UPDATE t_akselgate_transaction_log SET outcome = 'accepted', is_success = 1",
    "UPDATE t_akselgate_transaction_log SET response_payload = 'better'",
    "UPDATE t_akselgate_transaction_log SET is_latest = 0",
    "UPDATE t_akselgate_transaction_log SET updated_at = now()",
    "DELETE FROM t_akselgate_transaction_log",
    "TRUNCATE t_akselgate_transaction_log CASCADE",
    "UPDATE t_akselgate_transaction_rows SET locked = false",
    "UPDATE t_akselgate_transaction_rows SET amount = 1",
    "UPDATE t_akselgate_transaction_rows SET callback_state = 'failed', callback_at = now(), amount = 1",
    "DELETE FROM t_akselgate_transaction_rows",
    "TRUNCATE t_akselgate_transaction_rows",
    (
        "INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number,"
        " debit_account, credit_account, amount, description) SELECT id, manufacturer_org_id, 9, 'R9', '1', '2', 1, ''"
        " FROM t_akselgate_transaction_log"
    ),
    "DELETE FROM t_akselgate_open_attempts",
    "TRUNCATE t_akselgate_open_attempts",
    "UPDATE t_akselgate_events SET note = 'x'",
    "DELETE FROM t_akselgate_events",
    "TRUNCATE t_akselgate_events",
    (
        "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor)"
        " SELECT id, manufacturer_org_id, 'closed', 'x' FROM t_akselgate_transaction_log"
    ),
    (
        "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, outcome)"
        " SELECT id, gen_random_uuid(), 'resolved', 'x', 'rejected' FROM t_akselgate_transaction_log"
    ),
    (
        "INSERT INTO t_akselgate_transaction_log (transaction_type, kd_settle, request_id, attempt_number,"
        " total_transaksi, request_payload, payload_sha256, control_sum, outcome, status_code_res, is_success, sent_by,"
        " manufacturer_org_id) VALUES ('CA_ESCROW', 'NEW', 'PENDING', 1, 1, '', '', 1, 'accepted', '200', 1, 'x',"
        " gen_random_uuid())"
    ),
]


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.ERROR])
async def test_the_database_refuses_changes_that_are_no_step_of_an_attempt(treasury: Treasury, fault: Fault) -> None:
    attempt_id = await treasury.sent("R1", fault=fault)
    await treasury.call_back(attempt_id, "UNKNOWN")
    before = await everything(treasury)
    for statement in NO_STEPS:
        with pytest.raises(
            DBAPIError, match=r"may not|append-only|cannot be|begins as|refused|not those|violates foreign key"
        ):
            await treasury.sql(statement)
    assert await everything(treasury) == before


async def everything(treasury: Treasury) -> list[Any]:
    tables = ("transaction_log", "transaction_rows", "open_attempts", "events")
    return [await treasury.sql(f"SELECT *, xmin::text FROM t_akselgate_{table}") for table in tables]


async def test_constraints_refuse_a_second_attempt(treasury: Treasury) -> None:
    await treasury.sent("R1")
    copy = (
        "INSERT INTO t_akselgate_transaction_log (transaction_type, kd_settle, request_id, attempt_number,"
        " total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by, imported,"
        " manufacturer_org_id) SELECT transaction_type, kd_settle, 'old', {number}, 1, '', '', 1, 'sending', 'x', true,"
        " manufacturer_org_id FROM t_akselgate_transaction_log"
    )
    with pytest.raises(DBAPIError, match="uq_akselgate_attempt_number"):
        await treasury.sql(copy.format(number=1))
    with pytest.raises(DBAPIError, match="pk_akselgate_open"):
        await treasury.sql(copy.format(number=2))


async def test_a_settlement_has_one_latest_attempt_even_without_triggers(treasury: Treasury) -> None:
    await treasury.sent("R1", fault=Fault.REJECT)
    await treasury.sent("R1")
    with pytest.raises(DBAPIError, match="uq_akselgate_latest"):
        await treasury.past_the_guards("UPDATE t_akselgate_transaction_log SET is_latest = 1")


async def test_imported_rows_keep_the_request_ids_of_the_older_system(treasury: Treasury) -> None:
    await treasury.sql(
        "INSERT INTO t_akselgate_transaction_log (transaction_type, kd_settle, request_id, attempt_number, imported,"
        " total_transaksi, request_payload, payload_sha256, control_sum, outcome, status_code_res, is_success, sent_by,"
        " manufacturer_org_id) VALUES ('CA_ESCROW', 'STL1', 'OLD-12345', 1, true, 3, '{}', '', 9, 'rejected', '400', 0,"
        " 'old', :organisation)",
        organisation=treasury.organisation_id,
    )
    found = await treasury.sql("SELECT id FROM t_akselgate_transaction_log WHERE request_id = 'OLD-12345'")
    assert len(found) == 1
    assert (await treasury.dispatch()).json()["attempt_number"] == 2
    latest = await treasury.sql("SELECT request_id, id FROM t_akselgate_transaction_log WHERE is_latest = 1")
    assert [row.request_id for row in latest] == [str(latest[0].id)]


async def as_tenant(treasury: Treasury, *statements: str) -> None:
    """Runs statements under the role and the organisation of a request."""
    async with treasury.runtime.database.write(tenant=treasury.organisation_id) as repositories:
        for statement in statements:
            await repositories._session.execute(text(statement.replace(":", "\\:")))


# A trigger of one's own, on a table of one's own: what it does is done by a trigger.
LEVER = (
    "CREATE TEMP TABLE lever (statement text) ON COMMIT DROP",
    (
        "CREATE FUNCTION pg_temp.pull() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN EXECUTE NEW.statement; RETURN NULL; END $$"
    ),
    "CREATE TRIGGER pull AFTER INSERT ON lever FOR EACH ROW EXECUTE FUNCTION pg_temp.pull()",
)
EVENT = (
    "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, outcome)"
    " SELECT id, manufacturer_org_id, '{}', sent_by, {} FROM t_akselgate_transaction_log"
)
OLDER = (
    "INSERT INTO t_akselgate_transaction_log (transaction_type, kd_settle, request_id, attempt_number, imported,"
    " total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by, manufacturer_org_id)"
    " SELECT transaction_type, 'NEW', 'PENDING', 1, true, 1, '', '', 1, 'sending', sent_by, manufacturer_org_id"
    " FROM t_akselgate_transaction_log"
)
ATTACKS = [
    (*LEVER, "INSERT INTO lever VALUES ('UPDATE t_akselgate_transaction_rows SET locked = false')"),
    (
        *LEVER,
        "INSERT INTO lever VALUES ('UPDATE t_akselgate_transaction_log SET outcome = ''rejected'', is_success = 0')",
    ),
    (*LEVER, "INSERT INTO lever VALUES ('UPDATE t_akselgate_transaction_log SET is_latest = 0')"),
    (*LEVER, "INSERT INTO lever VALUES ('DELETE FROM t_akselgate_open_attempts')"),
    ("UPDATE t_akselgate_transaction_rows SET callback_state = 'failed', callback_at = now()",),
    ("UPDATE t_akselgate_transaction_log SET imported = true",),
    ("UPDATE t_akselgate_transaction_log SET request_payload = request_payload",),
    ("DELETE FROM t_akselgate_transaction_log",),
    ("TRUNCATE t_akselgate_transaction_rows",),
    ("DELETE FROM t_akselgate_open_attempts",),
    ("UPDATE t_akselgate_events SET note = 'x'",),
    ("SELECT setval('t_akselgate_transaction_log_id_seq', 1)",),
    ("ALTER TABLE t_akselgate_transaction_rows DISABLE TRIGGER USER",),
    ("SET LOCAL session_replication_role = replica",),
    ("CREATE OR REPLACE FUNCTION akselgate_guard_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$",),
    # Names looked up elsewhere first.
    (
        "CREATE TEMP TABLE t_akselgate_transaction_log (id bigint, outcome text) ON COMMIT DROP",
        "INSERT INTO pg_temp.t_akselgate_transaction_log SELECT attempt_id, 'rejected' FROM t_akselgate_open_attempts",
        "SET LOCAL search_path = pg_temp, public",
        "UPDATE public.t_akselgate_transaction_rows SET locked = false",
    ),
    # An older system's row needs no rows, no `sending`, and no request id of ours.
    (OLDER,),
    # Who sent it may not resolve it, and it is not to be closed while callbacks are missing.
    (EVENT.format("resolved", "'rejected'"),),
    (EVENT.format("closed", "NULL"),),
]


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.ERROR])
async def test_a_tenant_with_any_sql_cannot_unlock_a_reference(treasury: Treasury, fault: Fault) -> None:
    await treasury.sent("R1", fault=fault)
    before = await everything(treasury)
    for attack in ATTACKS:
        with pytest.raises(DBAPIError):
            await as_tenant(treasury, *attack)
        assert await everything(treasury) == before, attack


async def test_the_database_refuses_to_resolve_a_paid_attempt_as_not_sent(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", "R2", fault=Fault.ERROR)
    await treasury.call_back(attempt_id, "R1")
    resolved = (
        "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, outcome)"
        " SELECT id, manufacturer_org_id, 'resolved', 'somebody else', '{}' FROM t_akselgate_transaction_log"
    )
    for outcome in ("rejected", "not_sent"):
        with pytest.raises(DBAPIError, match="cannot be resolved"):
            await treasury.sql(resolved.format(outcome))
    await treasury.sql(resolved.format("accepted"))
    assert [attempt.outcome for attempt in await treasury.attempts()] == ["accepted"]


async def test_a_history_with_two_accepted_attempts_is_imported_and_the_newest_keeps_it_closed(
    treasury: Treasury,
) -> None:
    for number, is_latest in ((1, 0), (2, 1)):
        await treasury.sql(
            "INSERT INTO t_akselgate_transaction_log (transaction_type, kd_settle, request_id, attempt_number,"
            " imported, total_transaksi, request_payload, payload_sha256, control_sum, outcome, status_code_res,"
            " is_success, sent_by, is_latest, manufacturer_org_id) VALUES ('CA_ESCROW', 'STL1', 'OLD', :number, true,"
            " 3, '{}', '', 9, 'accepted', '200', 1, 'old', :is_latest, :organisation)",
            organisation=treasury.organisation_id,
            number=number,
            is_latest=is_latest,
        )
    refused = await treasury.dispatch()
    assert (refused.json()["type"], refused.json()["attempt_number"]) == ("urn:qrtrack:problem:already-dispatched", 2)
