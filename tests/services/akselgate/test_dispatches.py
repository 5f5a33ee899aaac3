"""A settlement on its way to the bank: what is written when, and what may be sent again."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import Request, Scripted
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.settings import Settings
from treasury import DEADLINE, Treasury, open_treasury, rows
from wire import Wire, wire_to


@asynccontextmanager
async def wired_treasury(settings: Settings, **changes: Any) -> AsyncIterator[tuple[Treasury, Wire]]:
    assert settings.database_url is not None
    async with wire_to(settings.database_url) as wire:
        wired = settings.model_copy(update={"database_url": wire.url})
        async with open_treasury(wired, **changes) as treasury:
            yield treasury, wire


async def test_a_batch_is_taken_and_answered_with_its_attempt(treasury: Treasury) -> None:
    answer = await treasury.dispatch()
    (attempt,) = await treasury.attempts()
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "log_id": attempt.id,
        "request_id": str(attempt.id),
        "attempt_number": 1,
        "outcome": "accepted",
        "total_transactions": 2,
        "status_code": "201",
        "response_code": "00",
        "message": "Taken",
    }
    assert (attempt.is_success, attempt.is_latest, attempt.total_transaksi) == (1, 1, 2)
    assert attempt.sent_by == treasury.finance.user_id
    assert json.loads(attempt.response_payload)["responseCode"] == "00"


async def test_on_receipt_the_gateway_would_find_the_row_committed_and_whole(treasury: Treasury) -> None:
    seen: list[Any] = []

    async def look(_request: Request) -> None:
        seen.extend(await treasury.attempts())
        seen.append(await treasury.states())

    treasury.gateway.on_insert = look
    await treasury.dispatch()
    attempt, states = seen
    (request,) = treasury.gateway.requests
    assert attempt.outcome == "sending"
    assert attempt.request_id == str(attempt.id) == json.loads(request.body)["requestId"]
    assert attempt.request_payload.encode() == request.body
    assert attempt.payload_sha256 == hashlib.sha256(request.body).hexdigest()
    assert attempt.control_sum == Decimal(300_000)
    assert (attempt.is_success, attempt.status_code_res, attempt.is_latest) == (None, None, 1)
    assert states == [("REF1", "missing", True), ("REF2", "missing", True)]
    sent = json.loads(request.body)
    assert (sent["totalTx"], len(sent["data"])) == ("2", 2)
    token = treasury.runtime.post.tokens.token_of(attempt.id)
    assert sent["data"][0]["callback_url"] == f"http://127.0.0.1:8000/webhook/akselgate/callback/{token}"


async def test_nothing_is_held_in_the_database_while_the_gateway_thinks(treasury: Treasury) -> None:
    open_transactions: list[Any] = []

    async def look(_request: Request) -> None:
        open_transactions.extend(
            await treasury.sql(
                "SELECT state, query FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            )
        )

    treasury.gateway.on_insert = look
    assert (await treasury.dispatch()).status_code == 200
    assert open_transactions == []


async def test_what_never_left_may_be_sent_again(treasury: Treasury) -> None:
    await treasury.gateway.stop()
    answer = await treasury.dispatch()
    (attempt,) = await treasury.attempts()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:qrtrack:problem:gateway-not-reached")
    assert (attempt.outcome, attempt.status_code_res, attempt.is_success) == ("not_sent", "unknown", 0)
    told = {name: answer.json()[name] for name in ("log_id", "request_id", "attempt_number", "outcome", "status_code")}
    assert told == {
        "log_id": attempt.id,
        "request_id": str(attempt.id),
        "attempt_number": 1,
        "outcome": "not_sent",
        "status_code": None,
    }
    host, port = treasury.gateway.address.removeprefix("http://").split(":")
    await treasury.gateway.start(host, int(port))
    again = await treasury.dispatch()
    assert (again.status_code, again.json()["attempt_number"]) == (200, 2)
    assert [row.is_latest for row in await treasury.attempts()] == [0, 1]


async def test_a_settlement_of_two_types_or_two_settlements_run_side_by_side(treasury: Treasury) -> None:
    answers = await asyncio.gather(
        treasury.dispatch("A", rows("R1")),
        treasury.dispatch("A", rows("R2"), kind="ESCROW_BILLER_PL"),
        treasury.dispatch("B", rows("R3")),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.json()["attempt_number"] for answer in answers] == [1, 1, 1]
    assert treasury.gateway.logins == 1


async def test_batches_that_share_references_in_any_order_never_deadlock(treasury: Treasury) -> None:
    names = [f"R{number}" for number in range(200)]
    for turn in range(5):
        pair = [f"{turn}-{name}" for name in names]
        answers = await asyncio.gather(
            treasury.dispatch(f"A{turn}", rows(*pair)), treasury.dispatch(f"B{turn}", rows(*reversed(pair)))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_refused_batch_leaves_no_row_no_number_and_no_change(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Fault.REJECT)
    await treasury.dispatch()
    bad = rows("R1", amount=1.5) + rows("R1") + rows("", debitAccount="12")
    refused = await treasury.dispatch(transactions=bad)
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (422, "urn:qrtrack:problem:invalid-transactions")
    assert [(error["pointer"], error["row_number"], error["reference"]) for error in problem["errors"]] == [
        ("/transactions/0/referenceNumber", 1, "R1"),
        ("/transactions/0/amount", 1, "R1"),
        ("/transactions/1/referenceNumber", 2, "R1"),
        ("/transactions/2/referenceNumber", 3, ""),
        ("/transactions/2/debitAccount", 3, ""),
    ]
    (attempt,) = await treasury.attempts()
    assert attempt.is_latest == 1
    again = await treasury.dispatch()
    assert again.json()["log_id"] == attempt.id + 1


async def test_ten_thousand_rows_are_stored_and_sent_uncut(treasury: Treasury) -> None:
    batch = rows(*(f"R{number}" for number in range(10_000)), description="d" * 100)
    answer = await treasury.dispatch(transactions=batch)
    (attempt,) = await treasury.attempts()
    (request,) = treasury.gateway.requests
    assert (answer.status_code, answer.json()["total_transactions"]) == (200, 10_000)
    assert attempt.request_payload.encode() == request.body
    assert len(json.loads(request.body)["data"]) == 10_000
    (counted,) = await treasury.sql("SELECT count(*) AS n, sum(amount) AS total FROM t_akselgate_transaction_rows")
    assert (counted.n, counted.total) == (10_000, attempt.control_sum)


async def test_a_long_answer_is_stored_uncut(treasury: Treasury) -> None:
    body = json.dumps({"responseCode": "00", "echo": "x" * 300_000}).encode()
    treasury.gateway.faults.append(Scripted(200, body))
    await treasury.dispatch()
    (attempt,) = await treasury.attempts()
    assert attempt.response_payload.encode() == body


async def test_a_caller_who_hangs_up_does_not_cut_it_off(treasury: Treasury) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: Request) -> None:
        arrived.set()
        await go_on.wait()

    treasury.gateway.on_insert = wait
    request = asyncio.create_task(treasury.dispatch())
    await arrived.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    go_on.set()
    await treasury.runtime.shielded_tasks.finish()
    (attempt,) = await treasury.attempts()
    assert attempt.outcome == "accepted"


async def test_an_answer_after_the_sweeper_is_an_event_and_changes_nothing(treasury: Treasury) -> None:
    async def sweep(_request: Request) -> None:
        await treasury.age(3600)
        assert await sweep_attempts(treasury.runtime.database) == 1

    treasury.gateway.on_insert = sweep
    answer = await treasury.dispatch()
    (attempt,) = await treasury.attempts()
    assert answer.status_code == 504
    assert (attempt.outcome, attempt.status_code_res) == ("unknown", "unknown")
    assert await treasury.events() == ["swept", "late_response"]
    (event,) = await treasury.sql("SELECT details FROM t_akselgate_events WHERE kind = 'late_response'")
    assert (event.details["outcome"], event.details["status_code"]) == ("accepted", "201")


async def test_only_what_is_older_than_twice_the_deadline_is_swept_and_nothing_is_sent(treasury: Treasury) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: Request) -> None:
        arrived.set()
        await go_on.wait()

    treasury.gateway.on_insert = wait
    request = asyncio.create_task(treasury.dispatch())
    await arrived.wait()
    assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:dispatch-in-progress"
    # So early that no machine is slow enough for the rest of the time to pass by itself.
    await treasury.age(-3600 + 2 * DEADLINE)
    assert await sweep_attempts(treasury.runtime.database) == 0
    await treasury.age(3600)
    assert await sweep_attempts(treasury.runtime.database) == 1
    assert await sweep_attempts(treasury.runtime.database) == 0
    assert [row.outcome for row in await treasury.attempts()] == ["unknown"]
    assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:outcome-unknown"
    go_on.set()
    assert (await request).status_code == 504
    assert len(treasury.gateway.requests) == 1


async def test_what_was_held_up_until_the_sweeper_might_judge_it_is_not_sent_any_more(settings: Settings) -> None:
    """Otherwise a person could have called it not sent, and had it sent again, before it is sent at all."""
    async with open_treasury(settings, akselgate_deadline_seconds=0.2) as treasury:
        async with treasury.runtime.database.engine.begin() as connection:
            await connection.exec_driver_sql("LOCK TABLE t_akselgate_transaction_rows IN EXCLUSIVE MODE")
            request = asyncio.create_task(treasury.dispatch())
            await treasury.until_somebody_waits_for_a_lock()
            await asyncio.sleep(0.5)
        answer = await request
        assert answer.json()["type"] == "urn:qrtrack:problem:gateway-not-reached"
        assert treasury.gateway.requests == []
        assert [(attempt.outcome, attempt.is_success) for attempt in await treasury.attempts()] == [("not_sent", 0)]


async def test_an_attempt_whose_commit_was_not_heard_of_is_not_sent_and_never_thought_away(settings: Settings) -> None:
    """It may be in the log: then it is frozen like any whose sender is gone, and nothing was sent."""
    async with wired_treasury(settings) as (treasury, wire):
        wire.cut_after = b"COMMIT\0"
        answer = await treasury.dispatch()
        await wire.mend()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:qrtrack:problem:database-unavailable")
        assert [attempt.outcome for attempt in await treasury.attempts()] == ["sending"]
        assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:dispatch-in-progress"
        assert treasury.gateway.requests == []


async def test_an_answer_that_comes_while_the_database_is_away_is_recorded_when_it_is_back(settings: Settings) -> None:
    async with wired_treasury(settings) as (treasury, wire):

        async def cut(_request: Request) -> None:
            wire.cut()
            asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(wire.mend()))

        treasury.gateway.on_insert = cut
        answer = await treasury.dispatch()
        assert (answer.status_code, answer.json()["outcome"]) == (200, "accepted")
        assert [attempt.outcome for attempt in await treasury.attempts()] == ["accepted"]
        assert await treasury.events() == []


async def test_an_answer_whose_commit_was_not_heard_of_is_recorded_once(settings: Settings) -> None:
    """The database has taken it, and the connection broke before it could say so."""
    async with wired_treasury(settings) as (treasury, wire):

        async def cut(_request: Request) -> None:
            wire.cut_after = b"COMMIT\0"
            asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(wire.mend()))

        treasury.gateway.on_insert = cut
        treasury.gateway.faults.append(Fault.REJECT)
        answer = await treasury.dispatch(key="K")
        assert (answer.status_code, answer.json()["outcome"]) == (502, "rejected")
        assert await treasury.events() == []
        assert (await treasury.dispatch(key="K")).json() == answer.json()


async def test_an_answer_that_cannot_be_recorded_is_told_and_the_attempt_is_left_to_the_sweeper(
    settings: Settings,
) -> None:
    async with wired_treasury(settings, akselgate_deadline_seconds=1) as (treasury, wire):

        async def cut(_request: Request) -> None:
            wire.cut()

        treasury.gateway.on_insert = cut
        with capture_logs() as logs:
            answer = await treasury.dispatch()
        await wire.mend()
        (attempt,) = await treasury.attempts()
        told = answer.json()
        assert (answer.status_code, told["type"]) == (504, "urn:qrtrack:problem:gateway-outcome-unknown")
        assert (told["log_id"], told["outcome"], told["status_code"]) == (attempt.id, "unknown", "201")
        assert "It is: accepted, status 201" in told["detail"]
        assert [entry["attempt_id"] for entry in logs if entry["event"].startswith("alarm")] == [attempt.id]
        assert attempt.outcome == "sending"
        await treasury.age(3)
        assert await sweep_attempts(treasury.runtime.database) == 1
        again = await treasury.dispatch()
        assert again.json()["type"] == "urn:qrtrack:problem:outcome-unknown"
        assert len(treasury.gateway.requests) == 1


async def test_what_was_resolved_as_not_sent_and_is_then_said_to_be_taken_is_an_alarm(treasury: Treasury) -> None:
    async def give_up(_request: Request) -> None:
        await treasury.age(3600)
        await sweep_attempts(treasury.runtime.database)
        (attempt,) = await treasury.attempts()
        assert (await treasury.resolve(attempt.id, "not_sent")).status_code == 200

    treasury.gateway.on_insert = give_up
    with capture_logs() as logs:
        answer = await treasury.dispatch()
    assert (answer.status_code, answer.json()["outcome"]) == (504, "unknown")
    assert "It is: accepted, status 201" in answer.json()["detail"]
    assert await treasury.events() == ["swept", "resolved", "late_response"]
    assert "alarm: the gateway contradicts itself about a payment" in [entry["event"] for entry in logs]


async def test_the_runbook_raises_the_start_of_the_ids_and_finds_what_is_open(treasury: Treasury) -> None:
    document = (Path(__file__).parents[2] / "docs" / "akselgate.md").read_text()
    open_attempts, restart = re.findall(r"```sql\n(.*?);\n```", document, re.DOTALL)
    await treasury.sql(restart)
    treasury.gateway.faults.append(Fault.ERROR)
    await treasury.dispatch()
    (attempt,) = await treasury.sql(open_attempts)
    assert (attempt.id, attempt.outcome) == (1_000_000, "unknown")


def said(text: str, status: int = 400) -> Scripted:
    """A refusal of the gateway with these words."""
    return Scripted(status, json.dumps({"responseCode": "99", "responseMessage": text}).encode())


async def test_a_refusal_of_a_reference_that_a_person_called_unpaid_is_unknown(treasury: Treasury) -> None:
    """The person may have been wrong: then the bank has refused the repetition of what it paid."""
    first = await treasury.sent("R1", "R2", fault=Fault.ERROR)
    await treasury.resolve(first, "not_sent")
    treasury.gateway.faults.append(said("Invalid request"))
    with capture_logs() as lines:
        answer = await treasury.dispatch("OTHER", rows("r1", "R3"))
    told = answer.json()
    assert (answer.status_code, told["outcome"], told["status_code"]) == (504, "unknown", "400")
    assert "may have refused a repetition of what it took before" in told["detail"]
    assert [line["answered"] for line in lines if line["event"].startswith("alarm")] == ["rejected"]
    (event,) = await treasury.sql("SELECT details FROM t_akselgate_events WHERE kind = 'doubted_refusal'")
    assert event.details == {"sent_before": [{"reference_number": "r1", "attempt_id": first}], "count": 1}
    assert (await treasury.dispatch("OTHER", rows("r1"))).json()["type"].endswith("outcome-unknown")
    assert (await treasury.dispatch("THIRD", rows("R3"))).json()["type"].endswith("reference-locked")
    assert len(treasury.gateway.requests) == 2


async def test_a_refusal_of_what_is_certainly_unpaid_frees_it(treasury: Treasury) -> None:
    """Refused by the gateway itself, never sent, or reported as failed: as often as it takes."""
    for settlement in ("A", "B"):
        treasury.gateway.faults.append(said("Invalid account"))
        assert (await treasury.dispatch(settlement, rows("R1"))).json()["outcome"] == "rejected"
    attempt_id = (await treasury.dispatch("C", rows("R1"))).json()["log_id"]
    await treasury.call_back(attempt_id, "R1", "51")
    treasury.gateway.faults.append(said("Invalid account"))
    assert (await treasury.dispatch("D", rows("R1"))).json()["outcome"] == "rejected"
    await treasury.gateway.stop()
    treasury.runtime.post.gateway._login = None
    assert (await treasury.dispatch("E", rows("R1"))).json()["outcome"] == "not_sent"
    host, port = treasury.gateway.address.removeprefix("http://").split(":")
    await treasury.gateway.start(host, int(port))
    treasury.gateway.faults.append(said("Invalid account"))
    assert (await treasury.dispatch("F", rows("R1"))).json()["outcome"] == "rejected"
    assert (await treasury.dispatch("G", rows("R1"))).json()["outcome"] == "accepted"


@pytest.mark.parametrize(("text", "status"), [("Transaksi sudah ada", 400), ("sudah terbayar", 404), ("Moved", 302)])
async def test_words_of_repetition_freeze_the_settlement(treasury: Treasury, text: str, status: int) -> None:
    treasury.gateway.faults.append(said(text, status))
    assert (await treasury.dispatch()).json()["outcome"] == "unknown"
    assert (await treasury.dispatch()).status_code == 409
    assert len(treasury.gateway.requests) == 1


async def test_a_settlement_and_a_reference_are_one_in_any_case(treasury: Treasury) -> None:
    first = await treasury.sent("R1", kd_settle="Alike")
    answers = [await treasury.dispatch("ALIKE", rows("R2")), await treasury.dispatch("other", rows("r1"))]
    assert [answer.json()["type"].rpartition(":")[2] for answer in answers] == [
        "already-dispatched",
        "reference-locked",
    ]
    assert answers[1].json()["errors"][0]["reference"] == "r1"
    await treasury.call_back(first, "R1", "51")
    again = (await treasury.dispatch("aLIKE", rows("r1"))).json()
    assert (again["attempt_number"], again["outcome"]) == (2, "accepted")
    assert [(row.kd_settle, row.is_latest) for row in await treasury.attempts()] == [("Alike", 0), ("aLIKE", 1)]
    listed = (await treasury.get("attempts", kd_settle="ALIKE")).json()["attempts"]
    assert [attempt["kd_settle"] for attempt in listed] == ["aLIKE", "Alike"]


async def test_settlements_in_two_cases_at_once_are_sent_once(treasury: Treasury) -> None:
    spellings = ["alike", "ALIKE", "Alike", "aLiKe"] * 3
    answers = await asyncio.gather(*[treasury.dispatch(name, rows(f"R{n}")) for n, name in enumerate(spellings)])
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11
    assert len(treasury.gateway.requests) == 1


async def test_lines_say_what_became_of_a_batch_and_texts_name_attempt_and_log_id(treasury: Treasury) -> None:
    treasury.gateway.login = Scripted(500, b"")
    with capture_logs() as lines:
        await treasury.dispatch()
    assert "dispatched" not in [line["event"] for line in lines]
    assert [line["log_level"] for line in lines if line["event"] == "the batch was not sent"] == ["warning"]
    treasury.gateway.login = Fault.NONE
    treasury.gateway.faults.append(Fault.ERROR)
    with capture_logs() as lines:
        told = (await treasury.dispatch()).json()
    assert [line["log_level"] for line in lines if line["event"].startswith("alarm")] == ["error"]
    assert told["detail"].startswith(f"Attempt 2 (log_id {told['log_id']}) may have been taken or not.")
