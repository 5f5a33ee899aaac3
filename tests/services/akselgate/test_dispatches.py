"""Dispatching a settlement: what is committed when, and what may be sent again."""

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
from qrtrack.services.akselgate import dispatches
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


async def test_an_accepted_dispatch_answers_its_attempt(treasury: Treasury) -> None:
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


async def test_the_attempt_is_committed_whole_before_the_gateway_gets_it(treasury: Treasury) -> None:
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
    token = treasury.runtime.dispatcher.tokens.token_of(attempt.id)
    assert sent["data"][0]["callback_url"] == f"http://127.0.0.1:8000/webhook/akselgate/callback/{token}"


async def test_no_transaction_is_open_while_the_gateway_answers(treasury: Treasury) -> None:
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


async def test_an_attempt_that_was_not_sent_may_be_dispatched_again(treasury: Treasury) -> None:
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


async def test_other_types_and_other_settlements_are_dispatched_concurrently(treasury: Treasury) -> None:
    answers = await asyncio.gather(
        treasury.dispatch("A", rows("R1")),
        treasury.dispatch("A", rows("R2"), kind="ESCROW_BILLER_PL"),
        treasury.dispatch("B", rows("R3")),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.json()["attempt_number"] for answer in answers] == [1, 1, 1]
    assert treasury.gateway.logins == 1


async def test_concurrent_batches_that_share_references_never_deadlock(treasury: Treasury) -> None:
    names = [f"R{number}" for number in range(200)]
    for pair_round in range(5):
        pair = [f"{pair_round}-{name}" for name in names]
        answers = await asyncio.gather(
            treasury.dispatch(f"A{pair_round}", rows(*pair)), treasury.dispatch(f"B{pair_round}", rows(*reversed(pair)))
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


async def test_a_caller_who_disconnects_does_not_cancel_the_dispatch(treasury: Treasury) -> None:
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


async def test_an_answer_after_the_sweeper_becomes_an_event_and_changes_nothing(treasury: Treasury) -> None:
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


async def test_the_sweeper_takes_only_attempts_older_than_twice_the_deadline(treasury: Treasury) -> None:
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


async def test_an_attempt_delayed_until_it_is_stale_is_not_sent(settings: Settings) -> None:
    """Otherwise it could be sent after an administrator resolved it as not sent and somebody dispatched it again."""
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


async def test_an_attempt_whose_commit_lost_its_confirmation_is_not_sent_and_stays_in_the_log(
    settings: Settings,
) -> None:
    """The attempt may be committed: then it stays `sending` until the sweeper finds it. Nothing is sent."""
    async with wired_treasury(settings) as (treasury, wire):
        wire.cut_after = b"COMMIT\0"
        answer = await treasury.dispatch()
        await wire.mend()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:qrtrack:problem:database-unavailable")
        assert [attempt.outcome for attempt in await treasury.attempts()] == ["sending"]
        assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:dispatch-in-progress"
        assert treasury.gateway.requests == []


async def test_an_answer_during_a_database_outage_is_recorded_after_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatches, "RETRY_SECONDS", 0.02)
    async with wired_treasury(settings) as (treasury, wire):

        async def cut(_request: Request) -> None:
            wire.cut()
            asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(wire.mend()))

        treasury.gateway.on_insert = cut
        answer = await treasury.dispatch()
        assert (answer.status_code, answer.json()["outcome"]) == (200, "accepted")
        assert [attempt.outcome for attempt in await treasury.attempts()] == ["accepted"]
        assert await treasury.events() == []


async def test_an_answer_whose_commit_lost_its_confirmation_is_recorded_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after PostgreSQL committed and before it confirmed."""
    monkeypatch.setattr(dispatches, "RETRY_SECONDS", 0.02)
    async with wired_treasury(settings) as (treasury, wire):

        async def cut(_request: Request) -> None:
            wire.cut_after = b"COMMIT\0"
            wire.mend_after_cut()

        treasury.gateway.on_insert = cut
        treasury.gateway.faults.append(Fault.REJECT)
        answer = await treasury.dispatch(key="K")
        assert (answer.status_code, answer.json()["outcome"]) == (502, "rejected")
        assert await treasury.events() == []
        assert (await treasury.dispatch(key="K")).json() == answer.json()


async def test_the_sender_gets_an_answer_that_cannot_be_recorded_and_the_sweeper_sets_unknown(
    settings: Settings,
) -> None:
    async with wired_treasury(settings) as (treasury, wire):

        async def cut(_request: Request) -> None:
            wire.cut()
            # The time for recording the answer. The request to the gateway keeps its own deadline.
            treasury.runtime.dispatcher.gateway.deadline_seconds = 0.1

        treasury.gateway.on_insert = cut
        with capture_logs() as logs:
            answer = await treasury.dispatch()
        await wire.mend()
        (attempt,) = await treasury.attempts()
        told = answer.json()
        assert (answer.status_code, told["type"]) == (504, "urn:qrtrack:problem:gateway-outcome-unknown")
        assert (told["log_id"], told["outcome"], told["status_code"]) == (attempt.id, "unknown", "201")
        assert "The answer is: accepted, status 201" in told["detail"]
        assert [entry["attempt_id"] for entry in logs if entry["event"].startswith("alarm")] == [attempt.id]
        assert attempt.outcome == "sending"
        await treasury.age(3600)
        assert await sweep_attempts(treasury.runtime.database) == 1
        again = await treasury.dispatch()
        assert again.json()["type"] == "urn:qrtrack:problem:outcome-unknown"
        assert len(treasury.gateway.requests) == 1


async def test_an_acceptance_after_a_resolution_as_not_sent_raises_an_alarm(treasury: Treasury) -> None:
    async def give_up(_request: Request) -> None:
        await treasury.age(3600)
        await sweep_attempts(treasury.runtime.database)
        (attempt,) = await treasury.attempts()
        assert (await treasury.resolve(attempt.id, "not_sent")).status_code == 200

    treasury.gateway.on_insert = give_up
    with capture_logs() as logs:
        answer = await treasury.dispatch()
    assert (answer.status_code, answer.json()["outcome"]) == (504, "unknown")
    assert "The answer is: accepted, status 201" in answer.json()["detail"]
    assert await treasury.events() == ["swept", "resolved", "late_response"]
    assert "alarm: the gateway contradicts what is recorded about a payment" in [entry["event"] for entry in logs]


async def test_the_sql_of_the_documentation_raises_the_ids_and_finds_open_attempts(treasury: Treasury) -> None:
    document = (Path(__file__).parents[3] / "docs" / "akselgate.md").read_text()
    open_attempts, restart = re.findall(r"```sql\n(.*?);\n```", document, re.DOTALL)
    await treasury.sql(restart)
    treasury.gateway.faults.append(Fault.ERROR)
    await treasury.dispatch()
    (attempt,) = await treasury.sql(open_attempts)
    assert (attempt.id, attempt.outcome) == (1_000_000, "unknown")


def said(text: str, status: int = 400) -> Scripted:
    """A refusal with this text."""
    return Scripted(status, json.dumps({"responseCode": "99", "responseMessage": text}).encode())


async def test_a_refusal_is_unknown_where_an_administrator_resolved_the_reference_as_unpaid(treasury: Treasury) -> None:
    """The administrator may be wrong: then the bank refuses a repetition of what it paid."""
    first = await treasury.sent("R1", "R2", fault=Fault.ERROR)
    await treasury.resolve(first, "not_sent")
    treasury.gateway.faults.append(said("Invalid request"))
    with capture_logs() as lines:
        answer = await treasury.dispatch("OTHER", rows("r1", "R3"))
    told = answer.json()
    assert (answer.status_code, told["outcome"], told["status_code"]) == (504, "unknown", "400")
    assert "It may have refused a repetition of what it took before" in told["detail"]
    assert [line["answered"] for line in lines if line["event"].startswith("alarm")] == ["rejected"]
    (event,) = await treasury.sql("SELECT details FROM t_akselgate_events WHERE kind = 'doubted_refusal'")
    assert event.details == {"sent_before": [{"reference_number": "r1", "attempt_id": first}], "count": 1}
    assert (await treasury.dispatch("OTHER", rows("r1"))).json()["type"].endswith("outcome-unknown")
    assert (await treasury.dispatch("THIRD", rows("R3"))).json()["type"].endswith("reference-locked")
    assert len(treasury.gateway.requests) == 2


async def test_a_refusal_of_certainly_unpaid_references_unlocks_them(treasury: Treasury) -> None:
    """Certainly unpaid: refused by the gateway, never sent, or reported as failed by a callback."""
    for settlement in ("A", "B"):
        treasury.gateway.faults.append(said("Invalid account"))
        assert (await treasury.dispatch(settlement, rows("R1"))).json()["outcome"] == "rejected"
    attempt_id = (await treasury.dispatch("C", rows("R1"))).json()["log_id"]
    await treasury.call_back(attempt_id, "R1", "51")
    treasury.gateway.faults.append(said("Invalid account"))
    assert (await treasury.dispatch("D", rows("R1"))).json()["outcome"] == "rejected"
    await treasury.gateway.stop()
    treasury.runtime.dispatcher.gateway._login = None
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


async def test_settlements_and_references_ignore_case(treasury: Treasury) -> None:
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


async def test_concurrent_dispatches_that_differ_in_case_are_sent_once(treasury: Treasury) -> None:
    spellings = ["alike", "ALIKE", "Alike", "aLiKe"] * 3
    answers = await asyncio.gather(*[treasury.dispatch(name, rows(f"R{n}")) for n, name in enumerate(spellings)])
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11
    assert len(treasury.gateway.requests) == 1


async def test_log_lines_tell_the_outcome_and_texts_name_attempt_and_log_id(treasury: Treasury) -> None:
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
    assert told["detail"].startswith(f"The bank may or may not have taken attempt 2 (log_id {told['log_id']}).")
