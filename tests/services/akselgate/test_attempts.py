"""Resolving an unknown attempt."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError

from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Role
from treasury import Treasury, rows


async def test_an_unknown_attempt_is_resolved_by_another_person_with_a_note(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", fault=Fault.ERROR)
    assert (await treasury.resolve(attempt_id, caller=treasury.finance)).json()["type"].endswith("missing-role")
    answer = await treasury.resolve(attempt_id, "not_sent")
    assert answer.json() == {
        "success": True,
        "log_id": attempt_id,
        "outcome": "not_sent",
        "resolved_by": treasury.admin.user_id,
        "note": "Ms Sari of the bank, by telephone",
    }
    assert await treasury.states() == [("R1", "missing", False)]
    assert (await treasury.resolve(attempt_id)).json()["type"] == "urn:qrtrack:problem:invalid-state"
    again = await treasury.dispatch(transactions=rows("R1"))
    assert again.json()["attempt_number"] == 2


async def test_the_sender_of_an_attempt_may_not_resolve_it(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Fault.ERROR)
    attempt_id = (await treasury.dispatch(caller=treasury.admin)).json()["log_id"]
    refused = await treasury.resolve(attempt_id, caller=treasury.admin)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:qrtrack:problem:same-person")
    assert (await treasury.resolve(attempt_id, caller=treasury.somebody(Role.ADMIN))).status_code == 200


async def test_an_attempt_resolved_as_accepted_waits_for_its_callbacks(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", fault=Fault.ERROR)
    await treasury.resolve(attempt_id, "accepted")
    assert (await treasury.dispatch()).json()["type"] == "urn:qrtrack:problem:already-dispatched"
    await treasury.call_back(attempt_id, "R1")
    assert await treasury.events() == ["resolved", "callback", "closed"]


async def test_a_paid_attempt_cannot_be_resolved_as_rejected(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", "R2", fault=Fault.ERROR)
    await treasury.call_back(attempt_id, "R1")
    refused = await treasury.resolve(attempt_id, "rejected")
    assert (refused.status_code, refused.json()["paid_references"]) == (409, ["R1"])


SENDER = "0192f1f0-1234-7abc-8def-0123456789ab"
SPELLINGS = (SENDER.upper(), f"{{{SENDER}}}", f"urn:uuid:{SENDER}", SENDER.replace("-", ""), f"{SENDER} ")


@pytest.mark.parametrize(
    "spelling", [SENDER.upper(), f"{{{SENDER}}}", f"urn:uuid:{SENDER}", SENDER.replace("-", ""), f"{SENDER} "]
)
async def test_a_sender_is_the_same_person_in_any_spelling_of_the_uuid(treasury: Treasury, spelling: str) -> None:
    admin = treasury.somebody(Role.ADMIN)
    treasury.gateway.faults.append(Fault.ERROR)
    attempt_id = (await treasury.dispatch(caller=replace(admin, user_id=spelling))).json()["log_id"]
    refused = await treasury.resolve(attempt_id, caller=replace(admin, user_id=SENDER))
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:qrtrack:problem:same-person")
    (attempt,) = await treasury.attempts()
    assert attempt.sent_by == SENDER


@pytest.mark.parametrize(
    "actor", [SENDER.upper(), f"{{{SENDER}}}", f"urn:uuid:{SENDER}", SENDER.replace("-", ""), f"{SENDER} "]
)
async def test_the_database_refuses_another_spelling_of_the_sender(treasury: Treasury, actor: str) -> None:
    treasury.gateway.faults.append(Fault.ERROR)
    await treasury.dispatch(caller=replace(treasury.finance, user_id=SENDER))
    with pytest.raises(DBAPIError, match="cannot be resolved now"):
        await treasury.sql(
            "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, outcome, note)"
            " SELECT id, manufacturer_org_id, 'resolved', :actor, 'not_sent', 'x' FROM t_akselgate_transaction_log",
            actor=actor,
        )


async def test_a_sender_is_the_same_person_in_any_case(treasury: Treasury) -> None:
    admin = treasury.somebody(Role.ADMIN)
    treasury.gateway.faults.append(Fault.ERROR)
    attempt_id = (await treasury.dispatch(caller=replace(admin, user_id="auth0|Ann"))).json()["log_id"]
    refused = await treasury.resolve(attempt_id, caller=replace(admin, user_id="auth0|ann"))
    assert refused.json()["type"] == "urn:qrtrack:problem:same-person"
