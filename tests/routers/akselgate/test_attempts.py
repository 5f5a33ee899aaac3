"""Attempts over HTTP: lists, pages, and what is masked in them."""

import json
from typing import Any

from structlog.testing import capture_logs

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.sandbox import Request, Scripted
from qrtrack.schemas.cursors import encode_cursor
from qrtrack.services.akselgate.attempts import sweep_attempts
from treasury import PASSWORD, Treasury, report_day, rows

ACCOUNTS = ("1000000001", "2000000002")


ECHO = b'{"responseCode": "A7", "responseMessage": "Account 1000000001 is closed"}'


async def test_only_the_page_of_an_attempt_shows_whole_account_numbers(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Scripted(400, ECHO))
    with capture_logs() as logs:
        refused = await treasury.dispatch()
        attempt_id = refused.json()["log_id"]
        listed = await treasury.get("attempts")
        report = await treasury.get("report", date=report_day())
        page = await treasury.get(f"attempts/{attempt_id}")
        invalid = await treasury.dispatch("S3", rows("R1", debitAccount="1000000001x"))
    shown = refused.text + listed.text + report.text + invalid.text + repr(logs)
    assert all(account not in shown for account in ACCOUNTS)
    assert refused.json()["message"] == "Account ******0001 is closed"
    assert listed.json()["attempts"][0]["message"] == "Account ******0001 is closed"
    assert all(account in page.text for account in ACCOUNTS)
    assert PASSWORD not in shown + page.text
    assert treasury.runtime.dispatcher.tokens.token_of(attempt_id) not in shown


async def test_attempts_are_listed_newest_first_filtered_and_paged(treasury: Treasury) -> None:
    treasury.gateway.faults.extend([Fault.REJECT, Fault.NONE, Fault.ERROR])
    for name in ("A", "A", "B"):
        await treasury.dispatch(name, rows(f"{name}1"))
    found = (await treasury.get("attempts")).json()["attempts"]
    assert [(row["kd_settle"], row["attempt_number"], row["outcome"]) for row in found] == [
        ("B", 1, "unknown"),
        ("A", 2, "accepted"),
        ("A", 1, "rejected"),
    ]
    assert [row["is_open"] for row in found] == [True, True, False]
    filters: list[tuple[dict[str, Any], int]] = [
        ({"kd_settle": "A"}, 2),
        ({"is_latest": 1}, 2),
        ({"outcome": "unknown"}, 1),
        ({"transaction_type": "ESCROW_BILLER_PL"}, 0),
        ({"kd_settle": "A", "is_latest": 0}, 1),
    ]
    for query, count in filters:
        assert len((await treasury.get("attempts", **query)).json()["attempts"]) == count
    first = (await treasury.get("attempts", limit=2)).json()
    second = (await treasury.get("attempts", limit=2, cursor=first["next_cursor"])).json()
    assert [row["log_id"] for row in first["attempts"] + second["attempts"]] == [row["log_id"] for row in found]
    assert second["next_cursor"] is None
    assert (await treasury.get("attempts", is_latest=2)).status_code == 422


async def test_the_page_of_an_attempt_shows_rows_callbacks_and_events(treasury: Treasury) -> None:
    attempt_id = (await treasury.dispatch(transactions=rows("R1", "R2", "R3"))).json()["log_id"]
    await treasury.call_back(attempt_id, "R1")
    await treasury.call_back(attempt_id, "ELSEWHERE")
    page = (await treasury.get(f"attempts/{attempt_id}", limit=2)).json()
    assert [(row["reference_number"], row["callback_state"]) for row in page["rows"]] == [
        ("R1", "ok"),
        ("R2", "missing"),
    ]
    assert [(entry["reference_number"], entry["result_code"]) for entry in page["callbacks"]] == [("R1", "00")]
    assert [event["kind"] for event in page["events"]] == ["unknown_reference"]
    token = treasury.runtime.dispatcher.tokens.token_of(attempt_id)
    sent = treasury.gateway.requests[0].body.decode()
    assert page["attempt"]["request_payload"] == sent.replace(token, f"{attempt_id}-***") != sent
    assert page["rows"][0]["amount"] == "150000"
    more = (await treasury.get(f"attempts/{attempt_id}", limit=2, cursor=page["next_cursor"])).json()
    assert [row["reference_number"] for row in more["rows"]] == ["R3"]
    assert more["attempt"]["request_payload"] is None
    assert (await treasury.get("attempts/999999")).status_code == 404
    beyond = await treasury.get(f"attempts/{attempt_id}", cursor=encode_cursor(2**63 - 1))
    assert (beyond.status_code, beyond.json()["rows"]) == (200, [])


async def test_no_page_of_an_attempt_shows_its_callback_token(treasury: Treasury) -> None:
    """The gateway may quote the callback address in its answer, also in one that comes after the sweeper."""
    next_id = (await treasury.sent("R0")) + 1
    token = treasury.runtime.dispatcher.tokens.token_of(next_id)
    said = json.dumps({"responseMessage": f"Cannot call {token}", "echo": [token]}).encode()

    async def sweep(_request: Request) -> None:
        await treasury.age(3600)
        await sweep_attempts(treasury.runtime.database)

    for is_late in (False, True):
        treasury.gateway.faults.append(Scripted(400, said))
        treasury.gateway.on_insert = sweep if is_late else None
        answer = await treasury.dispatch("S2", rows("R1"))
        page = await treasury.get(f"attempts/{answer.json()['log_id']}")
        listed = await treasury.get("attempts")
        assert "***" in page.text
        assert token[-64:] not in answer.text + page.text + listed.text


async def test_an_attempt_that_was_not_sent_shows_no_status(treasury: Treasury) -> None:
    await treasury.gateway.stop()
    told = (await treasury.dispatch()).json()
    listed = (await treasury.get("attempts")).json()["attempts"][0]
    page = (await treasury.get(f"attempts/{told['log_id']}")).json()["attempt"]
    shown = [(one["outcome"], one["status_code"]) for one in (told, listed, page)]
    assert shown == [("not_sent", None)] * 3
    assert (await treasury.attempts())[0].status_code_res == "unknown"
