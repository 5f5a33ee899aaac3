"""The answer to a dispatch: the outcome, or the attempt that blocks the settlement."""

import asyncio
from typing import Any

import pytest

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import Scripted
from treasury import Treasury, rows

READABLE = b'{"responseCode": "A7", "responseMessage": "Account 1000000001 is closed"}'


PROBLEMS = {"rejected": (502, "gateway-rejected"), "unknown": (504, "gateway-outcome-unknown")}

# What the gateway does → outcome, status_code_res. A rejected settlement may be dispatched again, an unknown may not.
OUTCOMES: list[tuple[Any, str, str]] = [
    *[(Scripted(status, READABLE), "rejected", str(status))
      for status in (400, 401, 403, 404, 413, 415, 422, 429)],
    (Fault.REDIRECT, "rejected", "307"),
    (Fault.RESET, "unknown", "201"),
    (Fault.HALF, "unknown", "201"),
    (Fault.ERROR, "unknown", "500"),
    (Fault.INVALID_JSON, "unknown", "200"),
    (Fault.DUPLICATE, "unknown", "409"),
    *[(Scripted(status, READABLE), "unknown", str(status))
      for status in (202, 408, 409, 502, 503, 504)],
    (Scripted(400, b'{"message": "duplicate reference"}'), "unknown", "400"),
    (Scripted(404, b"<html>"), "unknown", "404"),
    (Scripted(200, b""), "unknown", "200"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "outcome", "status_code"), OUTCOMES)
async def test_the_answer_of_the_gateway_decides_whether_the_settlement_may_be_dispatched_again(
    treasury: Treasury, fault: Any, outcome: str, status_code: str
) -> None:
    status, slug = PROBLEMS[outcome]
    again = outcome == "rejected"
    treasury.gateway.faults.append(fault)
    answer = await treasury.dispatch()
    (attempt,) = await treasury.attempts()
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:qrtrack:problem:{slug}")
    told = answer.json()
    assert (told["log_id"], told["outcome"], told["status_code"]) == (attempt.id, outcome, status_code)
    assert (told["request_id"], told["attempt_number"], told["total_transactions"]) == (str(attempt.id), 1, 2)
    assert (attempt.outcome, attempt.status_code_res) == (outcome, status_code)
    assert attempt.is_success == (0 if outcome == "rejected" else None)
    second = await treasury.dispatch()
    assert second.status_code == (200 if again else 409)
    if not again:
        assert second.json()["type"] == "urn:qrtrack:problem:outcome-unknown"
        assert second.json()["log_id"] == attempt.id
    assert len(treasury.gateway.requests) == (2 if again else 1)


async def test_one_of_fifty_concurrent_dispatches_is_sent_and_the_others_name_it(treasury: Treasury) -> None:
    answers = await asyncio.gather(*(treasury.dispatch() for _ in range(50)))
    (attempt,) = await treasury.attempts()
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert {problem["log_id"] for problem in refused} == {attempt.id}
    assert {problem["type"].rpartition(":")[2] for problem in refused} <= {"dispatch-in-progress", "already-dispatched"}
    assert len(treasury.gateway.requests) == 1


async def test_a_reference_is_locked_in_every_settlement(treasury: Treasury) -> None:
    first = await treasury.dispatch("A", rows("R1", "R2"))
    refused = await treasury.dispatch("B", rows("R9", "R2", "R1"))
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (409, "urn:qrtrack:problem:reference-locked")
    assert [(error["pointer"], error["row_number"], error["reference"]) for error in problem["errors"]] == [
        ("/transactions/1/referenceNumber", 2, "R2"),
        ("/transactions/2/referenceNumber", 3, "R1"),
    ]
    assert f"attempt 1 (log_id {first.json()['log_id']}) of settlement A" in problem["errors"][0]["detail"]
    assert len(treasury.gateway.requests) == 1
    assert [row.kd_settle for row in await treasury.attempts()] == ["A"]
