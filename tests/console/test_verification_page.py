"""The verification page in a real browser: what consumers meet arrives, a unit is recalled, the recall is lifted."""

import httpx2
from playwright.async_api import Page, expect

from console.station import API, Batch, Factory, Station
from qrtrack.domain.identity import Role


async def check(factory: Factory, batch: Batch, code: str) -> str:
    """A consumer's check with the right key; returns the answer's result."""
    async with factory.client() as client:
        rows = (await client.get(f"{API}/batches/{batch.batch_id}/codes?reveal=root_key&code={code}")).json()["codes"]
    proof = {"uniq_code": batch.uniq_code, "code": code, "root_key": rows[0]["root_key"]}
    async with httpx2.AsyncClient(base_url=factory.address, trust_env=False, timeout=60) as consumer:
        return str((await consumer.post("/api/verify", json=proof)).json()["result"])


async def test_alerts_of_consumers_arrive_and_a_person_acts_on_them(page: Page, factory: Factory) -> None:
    batch = await factory.batch(10, exclude=None)
    async with factory.client() as client:
        void = {"batch_id": batch.batch_id, "codes": ["SKA000004"], "reason": "Torn"}
        assert (await client.post(f"{API}/codes/void", json=void)).is_success
    await Station(page, factory).sign_in()
    await page.goto(f"{factory.address}/console/verification")
    await expect(page.locator("#records")).to_contain_text("No alert")
    assert await check(factory, batch, "SKA000004") == "void"
    # It arrives by itself.
    alert = page.locator(".alert", has_text="A void unit was checked")
    await expect(alert).to_contain_text("Find out how it left the plant.")

    await alert.get_by_role("button", name="Recall this unit").click()
    await expect(page.locator("#recall-codes [name=codes]")).to_have_value("SKA000004")
    await page.fill("#recall-codes [name=reason]", "Copied label")
    await page.click("#recall-codes .danger")
    await expect(page.locator("#sure-question")).to_contain_text("Units to recall: 1,")
    await page.click("#sure button[value=yes]")
    await expect(page.locator("#recalls")).to_contain_text("Copied label")
    assert await check(factory, batch, "SKA000004") == "recalled"

    await page.get_by_role("link", name="Checks").click()
    await expect(page.locator("#records tbody tr")).to_have_count(2)
    await expect(page.locator("#records .badge").first).to_have_text("recalled")
    await page.fill("[name=batch]", f"{factory.address}/q/{batch.uniq_code}")
    await page.keyboard.press("Enter")
    await expect(page.locator("#records tbody tr")).to_have_count(2)
    await page.click("#recalls [data-opens^=lift]")
    await page.fill("dialog[open] [name=reason]", "It was no copy")
    await page.click("dialog[open] .primary")
    await expect(page.locator("#recalls")).to_contain_text("Nothing is recalled.")
    assert await check(factory, batch, "SKA000004") == "void"


async def test_an_operator_sees_reports_and_is_offered_no_recall(page: Page, factory: Factory) -> None:
    batch = await factory.batch(3, exclude=None)
    async with httpx2.AsyncClient(base_url=factory.address, trust_env=False, timeout=60) as consumer:
        report = {"uniq_code": batch.uniq_code, "code": "SKA000002", "reason": "key_opened", "text": "<b>Open</b>"}
        assert (await consumer.post("/api/report", json=report)).is_success
    await Station(page, factory).sign_in(Role.OPERATOR)
    await page.goto(f"{factory.address}/console/verification?show=reports")
    await expect(page.locator("#records")).to_contain_text("The root key was already uncovered")
    await expect(page.locator("blockquote")).to_have_text("<b>Open</b>")
    await expect(page.locator("[data-opens], [data-path]")).to_have_count(0)
