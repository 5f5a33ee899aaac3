"""The pages Webhooks and Jobs in a real browser, against a real server: acting on all that match."""

import asyncio

import asyncpg
import httpx2
import pytest_asyncio
from playwright.async_api import Page, expect

from accurate import DATABASE, event
from console.station import API, Factory, Station
from qrtrack.domain.identity import Role

ORGANISATION = "0199b7c4-3d2f-7c44-9a53-0c8f2b1f6a10"
SETTINGS = {"ACCURATE_DATABASES": f"{DATABASE}={ORGANISATION}"}


@pytest_asyncio.fixture(loop_scope="session")
async def admin(page: Page, factory: Factory) -> Page:
    await Station(page, factory).sign_in(Role.ADMIN)
    return page


async def sql(factory: Factory, statement: str) -> list[asyncpg.Record]:
    """As the owner of the tables, without row-level security."""
    connection = await asyncpg.connect(factory.database_url.replace("+asyncpg", ""))
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def send(factory: Factory, *events: object) -> list[int]:
    """Sends the events, and waits until a worker has looked at each."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(f"{factory.address}/webhook/accurate", json=list(events))
    ids: list[int] = answer.json()["queue_ids"]
    waiting = "SELECT FROM webhook_queue WHERE status IN ('pending', 'processing')"
    while await sql(factory, waiting):
        await asyncio.sleep(0.02)
    return ids


async def test_all_matching_events_are_counted_and_replayed(admin: Page, factory: Factory) -> None:
    ids = await send(factory, *(event("VENDOR", note="<script>alert(1)</script>") for _ in range(3)), event("ITEM"))
    page = admin
    await page.goto(f"{factory.address}/console/webhooks?status=skipped&type=VENDOR")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.fill("[name=reason]", "a handler exists now")
    await page.click("text=Replay all that match")
    await expect(page.locator("#sure-question")).to_contain_text("Replay 3 events?")
    await page.click("text=No, leave it")
    await page.goto(f"{factory.address}/console/webhooks/{ids[0]}")
    assert "Replayed by" not in await page.inner_text("main")
    await page.go_back()
    await page.fill("[name=reason]", "a handler exists now")
    await page.click("text=Replay all that match")
    await page.click("#sure .primary")
    await expect(page.locator("form [data-said]")).to_have_text("3 events are in the queue again.")
    await page.goto(f"{factory.address}/console/webhooks/{ids[0]}")
    await expect(page.locator(".log")).to_contain_text("Replayed by you a handler exists now")
    await expect(page.locator(".payload")).to_contain_text('"note": "<script>alert(1)</script>"')


async def test_an_event_is_found_by_its_number_and_replayed_alone(admin: Page, factory: Factory) -> None:
    (queue_id,) = await send(factory, event("PROJECT"))
    page = admin
    await page.goto(f"{factory.address}/console/webhooks")
    await page.fill("[name=find]", str(queue_id))
    await page.click("text=Show")
    await page.wait_for_url(f"**/console/webhooks/{queue_id}")
    await expect(page.locator(".badge")).to_have_text("skipped")
    # Its part of the page is refreshed; the form is not, so that what is being typed stays.
    await page.reload()
    await page.fill("[name=reason]", "looked at it")
    await page.click("text=Replay this event")
    await expect(page.locator(".log")).to_contain_text("looked at it")


async def test_a_filter_that_matches_nothing_any_more_says_so(admin: Page, factory: Factory) -> None:
    await send(factory, event("SCRAP"))
    page = admin
    await page.goto(f"{factory.address}/console/webhooks?status=skipped&type=SCRAP")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await sql(factory, "UPDATE webhook_queue SET payload = '' WHERE type = 'SCRAP'")
    await page.click("text=Replay all that match")
    await expect(page.locator("form [data-said]")).to_have_text("Nothing matches now: nothing was changed.")


async def test_all_matching_jobs_are_retried_and_only_of_the_batch_in_the_address(
    admin: Page, factory: Factory
) -> None:
    one, other = await factory.batch(), await factory.batch()
    await sql(
        factory,
        "UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'x', progress = 50, result_summary = NULL"
        f" WHERE manufacturer_org_id = '{factory.organisation}'",
    )
    page = admin
    await page.goto(f"{factory.address}/console/jobs?status=failed&batch={one.batch_id}")
    await expect(page.locator("tbody tr")).to_have_count(1)
    counted = {"success": True, "dry_run": True, "matching": 10_000, "more": True}
    await page.route("**/retry-matching", lambda route: route.fulfill(json=counted))
    await page.click("text=Retry all failed ones")
    await expect(page.locator("#sure-question")).to_contain_text("Retry 10,000+ failed jobs?")
    await page.click("#sure [value='']")
    await page.unroute_all()
    await page.click("text=Retry all failed ones")
    await expect(page.locator("#sure-question")).to_contain_text("Retry 1 failed job?")
    await page.click("#sure .primary")
    await expect(page.locator("main > [data-said]")).to_have_text("1 job is in the queue again.")
    async with factory.client() as client:
        found = (await client.get(f"{API}/reverse-job/jobs", params={"batch_id": other.batch_id})).json()["jobs"]
    assert [job["status"] for job in found] == ["failed"]
