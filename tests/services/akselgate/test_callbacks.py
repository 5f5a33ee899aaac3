"""Callbacks: all are stored, and none makes the service pay twice."""

import asyncio

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import Request
from qrtrack.settings import Settings
from treasury import Treasury, open_treasury, rows

OK, FAILED, MISSING, CONFLICT = "ok", "failed", "missing", "conflict"
# A copy of an attempt of one row, under another settlement.
ANOTHER_ATTEMPT = """
WITH written AS (
    INSERT INTO t_akselgate_transaction_log (id, transaction_type, kd_settle, request_id, attempt_number,
        total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by, manufacturer_org_id)
    OVERRIDING SYSTEM VALUE
    SELECT id + 1000, transaction_type, 'OTHER', (id + 1000)::text, 1, 1, request_payload, payload_sha256,
           control_sum, 'sending', sent_by, manufacturer_org_id FROM t_akselgate_transaction_log WHERE id = :first)
INSERT INTO t_akselgate_transaction_rows (attempt_id, manufacturer_org_id, row_number, reference_number,
    debit_account, credit_account, amount, description)
SELECT attempt_id + 1000, manufacturer_org_id, row_number, reference_number, debit_account, credit_account, amount,
       description FROM t_akselgate_transaction_rows WHERE attempt_id = :first
"""


async def test_the_last_callback_closes_the_attempt_and_only_failures_may_be_sent_again(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", "R2")
    assert (await treasury.call_back(attempt_id, "R1")).json() == {"success": True}
    assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:already-dispatched"
    await treasury.call_back(attempt_id, "R2", "51")
    assert await treasury.states() == [("R1", OK, True), ("R2", FAILED, False)]
    assert await treasury.events("closed") == ["closed"]
    refused = await treasury.dispatch(transactions=rows("R1", "R2"))
    assert refused.json()["type"] == "urn:qrtrack:problem:reference-locked"
    again = await treasury.dispatch(transactions=rows("R2"))
    assert (again.status_code, again.json()["attempt_number"]) == (200, 2)


async def test_concurrent_callbacks_close_the_attempt_once(treasury: Treasury) -> None:
    names = [f"R{number}" for number in range(20)]
    attempt_id = await treasury.sent(*names)
    answers = await asyncio.gather(*(treasury.call_back(attempt_id, name) for name in names * 2))
    assert {answer.status_code for answer in answers} == {200}
    assert await treasury.events("closed") == ["closed"]
    assert len(await treasury.events("callback")) == 20


async def test_a_repeated_callback_changes_nothing(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", "R2")
    await treasury.call_back(attempt_id, "R1", "51")
    before = await treasury.sql("SELECT *, xmin::text FROM t_akselgate_transaction_rows ORDER BY row_number")
    assert (await treasury.call_back(attempt_id, "R1", "51")).status_code == 200
    assert await treasury.sql("SELECT *, xmin::text FROM t_akselgate_transaction_rows ORDER BY row_number") == before
    assert await treasury.events() == ["callback"]


async def test_a_success_after_a_failure_is_a_conflict_an_alarm_and_a_lock(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
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
    first = await treasury.sent("R1")
    await treasury.call_back(first, "R1", "51")
    second = await treasury.sent("R1")
    await treasury.call_back(first, "R1", "00")
    assert await treasury.states() == [("R1", CONFLICT, False), ("R1", MISSING, True)]
    await treasury.call_back(second, "R1", "00")
    assert await treasury.states() == [("R1", CONFLICT, False), ("R1", OK, True)]


@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_late_success_waits_for_a_concurrent_attempt_with_its_reference(
    treasury: Treasury, *, is_sent: bool
) -> None:
    """Both transactions find the reference unlocked; only one can lock it. The callback is stored in either case."""
    first = await treasury.sent("R1")
    await treasury.call_back(first, "R1", "51")
    async with treasury.runtime.database.engine.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text(ANOTHER_ATTEMPT), {"first": first})
        request = asyncio.create_task(treasury.call_back(first, "R1", "00"))
        await treasury.until_somebody_waits_for_a_lock()
        await (transaction.commit() if is_sent else transaction.rollback())
    assert (await request).status_code == 200
    assert (await treasury.states())[0] == ("R1", CONFLICT, not is_sent)
    assert await treasury.events() == ["callback", "closed", "callback", "conflict"]


async def test_a_dispatch_concurrent_with_a_late_success_of_its_reference_is_refused(treasury: Treasury) -> None:
    first = await treasury.sent("R1")
    await treasury.call_back(first, "R1", "51")
    async with treasury.runtime.database.engine.begin() as connection:
        await connection.execute(text("UPDATE t_akselgate_transaction_rows SET callback_state = 'conflict'"))
        request = asyncio.create_task(treasury.dispatch("OTHER", rows("R1")))
        await treasury.until_somebody_waits_for_a_lock()
    refused = await request
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:qrtrack:problem:reference-locked")
    assert f"attempt 1 (log_id {first}) of settlement STL1" in refused.json()["errors"][0]["detail"]
    assert len(treasury.gateway.requests) == 1


async def test_a_second_success_under_another_bank_reference_raises_an_alarm(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
    await treasury.call_back(attempt_id, "R1")
    with capture_logs() as logs:
        for _ in range(2):
            await treasury.call_back(attempt_id, "R1", bank_reference="B2")
    assert [entry["why"] for entry in logs if entry["event"].startswith("alarm")] == [
        "the bank reports the payment twice, under two references of its own"
    ]
    assert await treasury.states() == [("R1", OK, True)]
    assert await treasury.events() == ["callback", "closed", "callback", "conflict"]


async def test_a_failure_after_a_success_unlocks_nothing(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
    await treasury.call_back(attempt_id, "R1", "00")
    await treasury.call_back(attempt_id, "R1", "51")
    assert await treasury.states() == [("R1", CONFLICT, True)]


async def test_a_success_for_a_refused_reference_locks_it_again(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", fault=Fault.REJECT)
    assert await treasury.states() == [("R1", MISSING, False)]
    await treasury.call_back(attempt_id, "R1")
    assert await treasury.states() == [("R1", CONFLICT, True)]
    assert (await treasury.dispatch(transactions=rows("R1"))).json()["type"] == "urn:qrtrack:problem:reference-locked"


async def test_a_refusal_after_a_callback_of_success_is_unknown(treasury: Treasury) -> None:
    """The bank paid one row, so it took the batch and may pay the other row."""

    async def pay_first(_request: Request) -> None:
        (attempt,) = await treasury.attempts()
        await treasury.call_back(attempt.id, "R1")

    treasury.gateway.on_insert = pay_first
    with capture_logs() as logs:
        attempt_id = await treasury.sent("R1", "R2", fault=Fault.REJECT)
    assert [(attempt.outcome, attempt.status_code_res) for attempt in await treasury.attempts()] == [("unknown", "400")]
    assert await treasury.states() == [("R1", OK, True), ("R2", MISSING, True)]
    assert await treasury.events() == ["callback", "conflict"]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"]
    assert (await treasury.resolve(attempt_id, "rejected")).json()["paid_references"] == ["R1"]
    await treasury.call_back(attempt_id, "R2", "51")
    assert await treasury.states() == [("R1", OK, True), ("R2", FAILED, False)]
    assert (await treasury.events())[-2:] == ["resolved", "closed"]


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.HALF])
async def test_callbacks_before_the_answer_count(treasury: Treasury, fault: Fault) -> None:
    async def pay_first(_request: Request) -> None:
        (attempt,) = await treasury.attempts()
        await treasury.call_back(attempt.id, "R1")

    treasury.gateway.on_insert = pay_first
    await treasury.sent("R1", fault=fault)
    (attempt,) = await treasury.attempts()
    assert (attempt.outcome, attempt.is_success) == ("accepted", 1)
    assert (await treasury.events())[-1] == "closed"


async def test_an_unknown_attempt_is_accepted_when_every_reference_has_its_callback(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", "R2", fault=Fault.ERROR)
    await treasury.call_back(attempt_id, "R1")
    assert [row.outcome for row in await treasury.attempts()] == ["unknown"]
    await treasury.call_back(attempt_id, "R2", "51")
    assert [row.outcome for row in await treasury.attempts()] == ["accepted"]
    assert await treasury.events() == ["callback", "callback", "resolved", "closed"]


async def test_an_unknown_reference_is_stored_and_counted_once(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
    for _ in range(2):
        assert (await treasury.call_back(attempt_id, "ELSEWHERE")).status_code == 200
    assert await treasury.events() == ["unknown_reference"]
    assert await treasury.states() == [("R1", MISSING, True)]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "ref=R1",
        "ref=R1&rescore=",
        "ref=R1&rescore=51&rescore=00",
        "ref=R1&rescore=0",
        "ref=%00&rescore=",
        "ref=%ff",
        *[
            f"ref=R1&rescore={result}&rescoreref=B1"
            for result in ("SUCCESS", "OK", "PAID", "true", "null", "PENDING", "0.0", "00.0", "0x00", "OO", "O0", "68")
        ],
    ],
)
async def test_an_unreadable_callback_is_stored_and_unlocks_nothing(treasury: Treasury, query: str) -> None:
    attempt_id = await treasury.sent("R1")
    token = treasury.runtime.dispatcher.tokens.token_of(attempt_id)
    answer = await treasury.client().get(f"/webhook/akselgate/callback/{token}?{query}")
    assert answer.status_code == 200
    (event,) = await treasury.sql("SELECT kind, details FROM t_akselgate_events")
    assert (event.kind, event.details["query"]) == ("unreadable_callback", query)
    assert await treasury.states() == [("R1", MISSING, True)]


async def test_a_callback_with_a_wrong_token_is_refused(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
    tokens = treasury.runtime.dispatcher.tokens
    for token in (f"{attempt_id}-{'0' * 64}", tokens.token_of(attempt_id)[:-1], tokens.token_of(attempt_id + 1), "x"):
        answer = await treasury.client().get(f"/webhook/akselgate/callback/{token}?ref=R1&rescore=00")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:qrtrack:problem:unknown-callback")
    assert await treasury.events() == []


async def test_a_callback_that_cannot_be_stored_is_not_acknowledged(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
    async with treasury.runtime.database.engine.begin() as connection:
        await connection.exec_driver_sql("LOCK TABLE t_akselgate_events IN ACCESS EXCLUSIVE MODE")
        request = asyncio.create_task(treasury.call_back(attempt_id, "R1"))
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname ="
        while not await treasury.sql(f"{end} current_database()"):
            await asyncio.sleep(0.01)
        assert (await request).status_code == 503
    assert await treasury.events() == []


async def test_the_failure_codes_are_a_setting(settings: Settings) -> None:
    async with open_treasury(settings, akselgate_failure_codes="Z9,51") as treasury:
        attempt_id = await treasury.sent("R1", "R2")
        await treasury.call_back(attempt_id, "R1", "Z9")
        await treasury.call_back(attempt_id, "R2", "05")
        assert await treasury.states() == [("R1", FAILED, False), ("R2", MISSING, True)]


async def test_a_success_counts_after_an_unreadable_callback(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1")
    with capture_logs() as lines:
        await treasury.call_back(attempt_id, "R1", "68")
    assert [line["log_level"] for line in lines if line["event"].startswith("alarm")] == ["error"]
    await treasury.call_back(attempt_id, "R1", "00")
    assert await treasury.states() == [("R1", OK, True)]
    assert await treasury.events() == ["unreadable_callback", "callback", "closed"]


async def test_callbacks_that_differ_only_in_the_case_of_the_reference_count_once(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("Ref-a1")
    for spelling in ("REF-A1", "ref-a1", "Ref-a1"):
        assert (await treasury.call_back(attempt_id, spelling)).status_code == 200
    assert await treasury.states() == [("Ref-a1", OK, True)]
    assert await treasury.events() == ["callback", "closed"]
