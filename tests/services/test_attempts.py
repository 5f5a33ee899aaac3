"""What becomes of an attempt after it was sent: callbacks, a person's word, and what the database refuses."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from qrtrack.domain.identity import Role
from qrtrack.sandbox import Fault, Request
from treasury import Treasury, rows

OK, FAILED, MISSING, CONFLICT = "ok", "failed", "missing", "conflict"


async def sent(treasury: Treasury, *references: str, fault: Fault = Fault.NONE, kd_settle: str = "STL1") -> int:
    """The id of a new attempt."""
    treasury.gateway.faults.append(fault)
    answer = await treasury.dispatch(kd_settle, rows(*references or ("REF1", "REF2")))
    return int(answer.json()["log_id"])


async def test_the_last_callback_closes_the_attempt_and_only_failures_may_be_sent_again(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", "R2")
    assert (await treasury.call_back(attempt_id, "R1")).json() == {"success": True}
    assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:already-dispatched"
    await treasury.call_back(attempt_id, "R2", "51")
    assert await treasury.states() == [("R1", OK, True), ("R2", FAILED, False)]
    assert await treasury.events("closed") == ["closed"]
    refused = await treasury.dispatch(transactions=rows("R1", "R2"))
    assert refused.json()["type"] == "urn:qrtrack:problem:reference-locked"
    again = await treasury.dispatch(transactions=rows("R2"))
    assert (again.status_code, again.json()["attempt_number"]) == (200, 2)


async def test_callbacks_of_all_references_at_once_close_the_attempt_once(treasury: Treasury) -> None:
    names = [f"R{number}" for number in range(20)]
    attempt_id = await sent(treasury, *names)
    answers = await asyncio.gather(*(treasury.call_back(attempt_id, name) for name in names * 2))
    assert {answer.status_code for answer in answers} == {200}
    assert await treasury.events("closed") == ["closed"]
    assert len(await treasury.events("callback")) == 20


async def test_a_repeated_callback_changes_nothing(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", "R2")
    await treasury.call_back(attempt_id, "R1", "51")
    before = await treasury.sql("SELECT *, xmin::text FROM t_akselgate_transaction_rows ORDER BY row_number")
    assert (await treasury.call_back(attempt_id, "R1", "51")).status_code == 200
    assert await treasury.sql("SELECT *, xmin::text FROM t_akselgate_transaction_rows ORDER BY row_number") == before
    assert await treasury.events() == ["callback"]


async def test_a_success_after_a_failure_is_a_conflict_an_alarm_and_a_lock(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1")
    await treasury.call_back(attempt_id, "R1", "51")
    with capture_logs() as logs:
        assert (await treasury.call_back(attempt_id, "R1", "00")).status_code == 200
    assert [entry["log_level"] for entry in logs if entry["event"].startswith("alarm")] == ["error"]
    assert await treasury.states() == [("R1", CONFLICT, True)]
    assert await treasury.events() == ["callback", "closed", "callback", "conflict"]
    refused = await treasury.dispatch("OTHER", rows("R1"))
    assert refused.json()["type"] == "urn:qrtrack:problem:reference-locked"


async def test_a_success_after_the_failed_reference_was_sent_again_is_a_conflict_of_the_first(
    treasury: Treasury,
) -> None:
    first = await sent(treasury, "R1")
    await treasury.call_back(first, "R1", "51")
    second = await sent(treasury, "R1")
    await treasury.call_back(first, "R1", "00")
    assert await treasury.states() == [("R1", CONFLICT, False), ("R1", MISSING, True)]
    await treasury.call_back(second, "R1", "00")
    assert await treasury.states() == [("R1", CONFLICT, False), ("R1", OK, True)]


async def test_a_failure_after_a_success_frees_nothing(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1")
    await treasury.call_back(attempt_id, "R1", "00")
    await treasury.call_back(attempt_id, "R1", "51")
    assert await treasury.states() == [("R1", CONFLICT, True)]


async def test_a_success_for_what_was_refused_locks_it_again(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", fault=Fault.REJECT)
    assert await treasury.states() == [("R1", MISSING, False)]
    await treasury.call_back(attempt_id, "R1")
    assert await treasury.states() == [("R1", CONFLICT, True)]
    assert (await treasury.dispatch(transactions=rows("R1"))).json()["type"] == "urn:qrtrack:problem:reference-locked"


async def test_a_refusal_after_a_callback_of_success_frees_what_is_missing_alone(treasury: Treasury) -> None:
    async def pay_first(_request: Request) -> None:
        (attempt,) = await treasury.attempts()
        await treasury.call_back(attempt.id, "R1")

    treasury.gateway.on_insert = pay_first
    with capture_logs() as logs:
        await sent(treasury, "R1", "R2", fault=Fault.REJECT)
    assert await treasury.states() == [("R1", OK, True), ("R2", MISSING, False)]
    assert await treasury.events() == ["callback", "conflict"]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"]


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.HALF])
async def test_callbacks_that_overtake_the_answer_count(treasury: Treasury, fault: Fault) -> None:
    async def pay_first(_request: Request) -> None:
        (attempt,) = await treasury.attempts()
        await treasury.call_back(attempt.id, "R1")

    treasury.gateway.on_insert = pay_first
    await sent(treasury, "R1", fault=fault)
    (attempt,) = await treasury.attempts()
    assert (attempt.outcome, attempt.is_success) == ("accepted", 1)
    assert (await treasury.events())[-1] == "closed"


async def test_an_unknown_attempt_ends_when_all_its_references_have_called_back(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", "R2", fault=Fault.ERROR)
    await treasury.call_back(attempt_id, "R1")
    assert [row.outcome for row in await treasury.attempts()] == ["unknown"]
    await treasury.call_back(attempt_id, "R2", "51")
    assert [row.outcome for row in await treasury.attempts()] == ["accepted"]
    assert await treasury.events() == ["callback", "callback", "resolved", "closed"]


async def test_an_unknown_reference_is_stored_and_counted_once(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1")
    for _ in range(2):
        assert (await treasury.call_back(attempt_id, "ELSEWHERE")).status_code == 200
    assert await treasury.events() == ["unknown_reference"]
    assert await treasury.states() == [("R1", MISSING, True)]


@pytest.mark.parametrize("query", ["", "ref=R1", "ref=R1&rescore=", "ref=%00&rescore=", "rescore=", "ref=%ff&x=1"])
async def test_a_callback_that_says_nothing_is_kept_and_frees_nothing(treasury: Treasury, query: str) -> None:
    attempt_id = await sent(treasury, "R1")
    token = treasury.runtime.post.tokens.token_of(attempt_id)
    answer = await treasury.client().get(f"/webhook/akselgate/callback/{token}?{query}")
    assert answer.status_code == 200
    (event,) = await treasury.sql("SELECT kind, details FROM t_akselgate_events")
    assert (event.kind, event.details["query"]) == ("unreadable_callback", query)
    assert await treasury.states() == [("R1", MISSING, True)]


async def test_a_callback_without_a_true_token_is_not_taken(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1")
    tokens = treasury.runtime.post.tokens
    for token in (f"{attempt_id}-{'0' * 64}", tokens.token_of(attempt_id)[:-1], tokens.token_of(attempt_id + 1), "x"):
        answer = await treasury.client().get(f"/webhook/akselgate/callback/{token}?ref=R1&rescore=00")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:qrtrack:problem:unknown-callback")
    assert await treasury.events() == []


async def test_a_callback_that_cannot_be_stored_is_not_acknowledged(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1")
    async with treasury.runtime.database.engine.begin() as connection:
        await connection.exec_driver_sql("LOCK TABLE t_akselgate_events IN ACCESS EXCLUSIVE MODE")
        request = asyncio.create_task(treasury.call_back(attempt_id, "R1"))
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname ="
        while not await treasury.sql(f"{end} current_database()"):
            await asyncio.sleep(0.01)
        assert (await request).status_code == 503
    assert await treasury.events() == []


async def test_an_unknown_attempt_is_resolved_by_another_person_with_a_note(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", fault=Fault.ERROR)
    assert (await treasury.resolve(attempt_id, caller=treasury.finance)).json()["type"].endswith("missing-role")
    answer = await treasury.resolve(attempt_id, "not_sent")
    assert answer.json() == {
        "success": True,
        "log_id": attempt_id,
        "outcome": "not_sent",
        "resolved_by": treasury.admin.user_id,
        "note": "Ms Sari of the bank, by telephone",
    }
    assert await treasury.states() == [("R1", MISSING, False)]
    assert (await treasury.resolve(attempt_id)).json()["type"] == "urn:qrtrack:problem:invalid-state"
    again = await treasury.dispatch(transactions=rows("R1"))
    assert again.json()["attempt_number"] == 2


async def test_who_sent_an_attempt_may_not_resolve_it(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Fault.ERROR)
    attempt_id = (await treasury.dispatch(caller=treasury.admin)).json()["log_id"]
    refused = await treasury.resolve(attempt_id, caller=treasury.admin)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:qrtrack:problem:same-person")
    assert (await treasury.resolve(attempt_id, caller=treasury.somebody(Role.ADMIN))).status_code == 200


async def test_an_attempt_resolved_as_accepted_waits_for_its_callbacks(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", fault=Fault.ERROR)
    await treasury.resolve(attempt_id, "accepted")
    assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:already-dispatched"
    await treasury.call_back(attempt_id, "R1")
    assert await treasury.events() == ["resolved", "callback", "closed"]


async def test_what_the_gateway_has_paid_cannot_be_resolved_as_not_sent(treasury: Treasury) -> None:
    attempt_id = await sent(treasury, "R1", "R2", fault=Fault.ERROR)
    await treasury.call_back(attempt_id, "R1")
    refused = await treasury.resolve(attempt_id, "rejected")
    assert (refused.status_code, refused.json()["paid_references"]) == (409, ["R1"])


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
    attempt_id = await sent(treasury, "R1", fault=fault)
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
    await sent(treasury, "R1")
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
