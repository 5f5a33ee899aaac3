"""The page Settlements in a real browser, against a real server and a gateway on a real socket."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import expect

from console.conftest import OpenPage
from console.station import Factory, Station
from process import SECRET, serving
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.sandbox import Sandbox
from treasury import rows

ORGANISATION = "0199b7c4-3d2f-7c44-9a53-0c8f2b1f6a11"


@dataclass(frozen=True)
class Bank:
    """A server with an account at a gateway that calls back only if a test does it."""

    address: str
    gateway: Sandbox

    async def sent(self, user: str, kd_settle: str, fault: Fault, **changes: str) -> int:
        """Dispatches three transactions in this user's name. Returns the id of the attempt."""
        self.gateway.faults.append(fault)
        token = sign_token(SECRET, organisation_id=UUID(ORGANISATION), user_id=user, roles=[Role.ADMIN], hours=1)
        body = {
            "transaction_type": "CA_ESCROW", "kd_settle": kd_settle,
            "transactions": rows(*(f"{kd_settle[-5:]}-{number}" for number in range(3)), **changes),
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as client:
            answer = await client.post(f"{self.address}/api/akselgate/dispatch", json=body)
        return int(answer.json()["log_id"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bank(migrated_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    gateway = Sandbox(callback_seconds=None)
    await gateway.start()
    settings = {
        "AKSELGATE_BASE_URL": gateway.address, "AKSELGATE_USERNAME": "qrtrack", "AKSELGATE_PASSWORD": "pa55-of-tests",
        "AKSELGATE_ORGANISATION": ORGANISATION, "AKSELGATE_AMOUNT_SCALE": "2",
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("server"), DATABASE_URL=migrated_url, **settings) as address:
        yield Bank(address, gateway)
    await gateway.stop()


@pytest.fixture
def factory(bank: Bank, migrated_url: str, tmp_path: Path) -> Factory:
    return Factory(bank.address, tmp_path, migrated_url, organisation=ORGANISATION)


async def test_the_sender_cannot_resolve_an_unknown_attempt_and_a_second_person_does(
    open_page: OpenPage, bank: Bank, factory: Factory, migrated_url: str, tmp_path: Path
) -> None:
    log_id = await bank.sent(factory.user, "STL-UNKNOWN", Fault.RESET)
    sender = await open_page()
    await Station(sender, factory).sign_in(Role.ADMIN)
    await sender.goto(f"{bank.address}/console/settlements?outcome=unknown")
    await sender.click("text=STL-UNKNOWN")
    await expect(sender.locator("#resolver")).to_contain_text("You sent this attempt, so you cannot resolve it.")
    await expect(sender.locator("form.resolve")).to_have_count(0)
    refused = await sender.evaluate(
        "id => fetch(`/api/akselgate/attempts/${id}/resolve`, {method: 'POST', headers: {'Content-Type':"
        " 'application/json'}, body: JSON.stringify({outcome: 'not_sent', note: 'me'})}).then(a => a.json())",
        log_id,
    )
    assert refused["type"] == "urn:qrtrack:problem:same-person"

    second = Factory(bank.address, tmp_path, migrated_url, organisation=ORGANISATION, user=str(uuid4()))
    page = await open_page()
    await Station(page, second).sign_in(Role.ADMIN)
    await page.goto(f"{bank.address}/console/settlements/{log_id}")
    await page.check("[value=not_sent]")
    await page.fill("[name=note]", "Ms Sari of the bank, 10:15")
    await page.click("form.resolve .primary")
    await expect(page.locator("#sure-question")).to_contain_text(
        "Record that STL-UNKNOWN never reached the bank and nothing was paid? This cannot be changed afterwards."
    )
    await page.click("#sure .primary")
    await expect(page.locator(".log")).to_contain_text("Resolved by you Ms Sari of the bank, 10:15")
    await expect(page.locator(".badge").first).to_have_text("not sent")
    await expect(page.locator("form.resolve")).to_have_count(0)


async def test_amounts_are_written_as_the_language_does_and_stand_at_the_right(
    open_page: OpenPage, bank: Bank, factory: Factory
) -> None:
    log_id = await bank.sent(str(uuid4()), "STL-AMOUNT", Fault.NONE, amount="1234567.50")
    page = await open_page()
    await Station(page, factory).sign_in(Role.FINANCE)
    for language, cell, total in (("en", "1,234,567.50", "3,703,702.50"), ("id", "1.234.567,50", "3.703.702,50")):
        await page.context.add_cookies([{"name": "qrtrack_language", "value": language, "url": bank.address}])
        await page.goto(f"{bank.address}/console/settlements/{log_id}")
        await expect(page.locator("td.money").first).to_have_text(cell)
        await expect(page.locator(".facts .money")).to_have_text(total)
        aligned = await page.locator("td.money").first.evaluate("cell => getComputedStyle(cell).textAlign")
        assert aligned == "right"


async def test_callbacks_move_the_page_by_themselves(open_page: OpenPage, bank: Bank, factory: Factory) -> None:
    log_id = await bank.sent(str(uuid4()), "STL-CALLED", Fault.NONE)
    page = await open_page()
    await Station(page, factory).sign_in(Role.FINANCE)
    await page.goto(f"{bank.address}/console/settlements/{log_id}")
    await expect(page.locator("td .badge")).to_have_text(["missing"] * 3)
    callback = json.loads(bank.gateway.requests[-1].body)["data"][0]["callback_url"]
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        path = httpx2.URL(callback).path
        answer = await client.get(f"{bank.address}{path}?ref=ALLED-1&rescore=00&rescoreref=B77")
    assert answer.status_code == 200
    await expect(page.locator("td .badge")).to_have_text(["missing", "paid", "missing"])
    await expect(page.locator(".log")).to_contain_text("Callback for ALLED-1: 00 B77")
