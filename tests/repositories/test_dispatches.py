"""What the database itself refuses of attempts, whoever asks."""

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from qrtrack.sandbox import Fault
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
async def test_the_database_refuses_what_is_no_step_of_an_attempt(treasury: Treasury, fault: Fault) -> None:
    attempt_id = await treasury.sent("R1", fault=fault)
    await treasury.call_back(attempt_id, "UNKNOWN")
    before = await everything(treasury)
    for statement in NO_STEPS:
        with pytest.raises(DBAPIError, match=r"may not|append-only|cannot be|begins as|refused|not those"):
            await treasury.sql(statement)
    assert await everything(treasury) == before


async def everything(treasury: Treasury) -> list[Any]:
    tables = ("transaction_log", "transaction_rows", "open_attempts", "events")
    return [await treasury.sql(f"SELECT *, xmin::text FROM t_akselgate_{table}") for table in tables]


async def test_the_constraints_hold_whatever_was_checked_before(treasury: Treasury) -> None:
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
