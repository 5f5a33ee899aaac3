"""What becomes of an attempt that was not answered: a person's word."""

from qrtrack.domain.identity import Role
from qrtrack.sandbox import Fault
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


async def test_who_sent_an_attempt_may_not_resolve_it(treasury: Treasury) -> None:
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


async def test_what_the_gateway_has_paid_cannot_be_resolved_as_not_sent(treasury: Treasury) -> None:
    attempt_id = await treasury.sent("R1", "R2", fault=Fault.ERROR)
    await treasury.call_back(attempt_id, "R1")
    refused = await treasury.resolve(attempt_id, "rejected")
    assert (refused.status_code, refused.json()["paid_references"]) == (409, ["R1"])
