"""The page Settlements without a browser."""

from uuid import uuid4

import httpx2
import pytest

from qrtrack.console.language import catalogue
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Caller, Role
from qrtrack.routers.languages import LANGUAGES
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.services.console_sessions import open_session
from treasury import Treasury, report_day, rows

PAGE = "/console/settlements"


async def visit(treasury: Treasury, caller: Caller, language: str = "en") -> httpx2.AsyncClient:
    client = treasury.client()
    client.cookies.set("qrtrack_session", await open_session(treasury.runtime.database, caller, station=None, hours=1))
    client.cookies.set("qrtrack_language", language)
    return client


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_outcome_is_shown_and_explained_in_every_language(treasury: Treasury, language: str) -> None:
    visitor = await visit(treasury, treasury.finance, language)
    assert (await visitor.get(PAGE)).status_code == 200
    assert (await visitor.get(f"{PAGE}/report")).status_code == 200
    taken = await treasury.sent("A1", "A2", kd_settle="STLA")
    for reference, result in (("A1", "00"), ("A1", "51"), ("A2", "??"), ("A9", "00")):
        await treasury.call_back(taken, reference, result)
    faults = {"STLB": Fault.REJECT, "STLC": Fault.RESET}
    attempts = [taken] + [
        await treasury.sent(f"{name}1", fault=fault, kd_settle=name) for name, fault in faults.items()
    ]
    await treasury.resolve(attempts[-1])
    await treasury.past_the_guards(
        "INSERT INTO t_akselgate_events (attempt_id, manufacturer_org_id, kind, actor, details)"
        " SELECT :id, :org, kind, 'gateway', '{}' FROM unnest(ARRAY['late_response', 'doubted_refusal', 'swept'])"
        " AS kind",
        id=taken, org=treasury.organisation_id,
    )  # fmt: skip
    assert await sweep_attempts(treasury.runtime.database) == 0
    for outcome in ("", "sending", "accepted", "rejected", "not_sent", "unknown"):
        assert (await visitor.get(PAGE, params={"outcome": outcome, "all": "1"})).status_code == 200
    for log_id in attempts:
        for part in ("", "/now"):
            assert (await visitor.get(f"{PAGE}/{log_id}{part}")).status_code == 200
    refused, resolved = [(await visitor.get(f"{PAGE}/{log_id}")).text for log_id in attempts[1:]]
    for shown in (refused, resolved):
        assert catalogue(language)["settlements.callback_not_awaited"] in shown, "nothing was taken"
    report = await visitor.get(f"{PAGE}/report", params={"date": report_day()})
    assert "STLA" in report.text
    assert f"/api/akselgate/report.xlsx?date={report_day()}" in report.text


async def test_every_page_masks_accounts(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Fault.REJECT)
    sent = rows("R1", debitAccount="1234567890", creditAccount="9876543210", description="To 9876543210")
    log_id = (await treasury.dispatch("STL1", sent)).json()["log_id"]
    await treasury.past_the_guards(
        "UPDATE t_akselgate_transaction_log SET response_message = 'Account 1234567890 is closed',"
        " response_payload = '{\"account\": 1234567890}'"
    )
    visitor = await visit(treasury, treasury.finance)
    for address in (PAGE, f"{PAGE}/{log_id}", f"{PAGE}/{log_id}/now"):
        shown = (await visitor.get(address)).text
        assert "Account ******7890 is closed" in shown
        assert "1234567890" not in shown
        assert "9876543210" not in shown
    assert "To ******3210" in (await visitor.get(f"{PAGE}/{log_id}")).text


async def test_no_page_shows_the_token_of_the_callbacks(treasury: Treasury) -> None:
    log_id = await treasury.sent("R1")
    token = treasury.runtime.dispatcher.tokens.token_of(log_id)
    await treasury.past_the_guards(
        "UPDATE t_akselgate_transaction_log SET response_message = :text, response_payload = :text", text=f"to {token}"
    )
    page = (await (await visit(treasury, treasury.finance)).get(f"{PAGE}/{log_id}")).text
    assert f"{str(log_id)[-4:]}-***" in page, "long numbers keep their last four digits"
    assert token not in page


async def test_the_page_says_beforehand_who_may_resolve_an_unknown_attempt(treasury: Treasury) -> None:
    treasury.gateway.faults.append(Fault.RESET)
    sender = treasury.somebody(Role.ADMIN)
    log_id = (await treasury.dispatch("STL1", caller=sender)).json()["log_id"]
    told = {}
    for name, person in (("sender", sender), ("finance", treasury.finance), ("second", treasury.admin)):
        told[name] = (await (await visit(treasury, person)).get(f"{PAGE}/{log_id}")).text
    assert "You sent this attempt, so you cannot resolve it." in told["sender"]
    assert f'title="{sender.user_id}"' in told["finance"]
    assert f"It must be another person than {sender.user_id[:8]}…" in told["finance"]
    assert [name for name, page in told.items() if f"/attempts/{log_id}/resolve" in page] == ["second"]


async def test_many_rows_are_paged(treasury: Treasury) -> None:
    references = [f"R{number:03d}" for number in range(120)]
    log_id = await treasury.sent(*references)
    visitor = await visit(treasury, treasury.finance)
    shown = []
    for after in (0, 50, 100):
        page = (await visitor.get(f"{PAGE}/{log_id}", params={"after": after})).text
        shown += [reference for reference in references if f">{reference}<" in page]
        assert (f"after={after + 50}" in page) == (after < 100)
    assert shown == references


async def test_other_roles_and_other_organisations_see_no_settlement(treasury: Treasury) -> None:
    log_id = await treasury.sent("R1", kd_settle="STL-SECRET")
    for role in (Role.OPERATOR, Role.MANAGER):
        visitor = await visit(treasury, treasury.somebody(role))
        assert (await visitor.get(PAGE)).status_code == 403
        assert f'href="{PAGE}"' not in (await visitor.get("/console")).text
    stranger = await visit(treasury, Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    told = (await stranger.get(PAGE)).text
    assert "Your organisation has no account at the bank gateway" in told
    assert "STL-SECRET" not in told
    for address in (f"{PAGE}/{log_id}", f"{PAGE}/{log_id}/now", f"{PAGE}/report"):
        assert (await stranger.get(address)).status_code == 404
