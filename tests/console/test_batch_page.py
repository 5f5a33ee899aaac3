"""The pages of a batch in a real browser: importing, where its codes are, root keys, recall, release, close."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import FilePayload, Page, Route, expect

from console.conftest import OpenPage
from console.station import API, Batch, Factory, Station

# Nobody reads the mail: it is only offered where a server is set.
SETTINGS = {"SMTP_URL": "smtp://127.0.0.1:9", "SMTP_FROM": "qrtrack@plant.example"}
CSV = "code,root_key,variant\nOLD000001,ZR4K,\nOLD000002,{second},\nOLD000003,,\n"


@pytest_asyncio.fixture(loop_scope="session")
async def manager(page: Page, factory: Factory) -> Page:
    await Station(page, factory).sign_in()
    return page


async def choose(page: Page, content: str) -> None:
    file = FilePayload(name="old.csv", mimeType="text/csv", buffer=content.encode())
    await page.set_input_files("[name=file]", files=file)


async def test_a_file_chosen_before_the_script_is_there_is_shown(manager: Page, factory: Factory) -> None:
    is_chosen = asyncio.Event()

    async def come_late(route: Route) -> None:
        await is_chosen.wait()
        await route.continue_()

    await manager.route("**/importing.js", come_late)
    await manager.goto(f"{factory.address}/console/batches/import", wait_until="commit")
    await choose(manager, CSV.format(second="ZR4K"))
    is_chosen.set()
    await expect(manager.locator("[data-lines]")).to_contain_text("OLD000002,ZR4K")


async def test_an_import_names_the_bad_line_and_takes_the_corrected_file(manager: Page, factory: Factory) -> None:
    await manager.goto(f"{factory.address}/console/batches")
    await manager.get_by_role("link", name="Import codes").click()
    await choose(manager, CSV.format(second="ZR4K"))
    await expect(manager.locator("[data-lines]")).to_contain_text("OLD000002,ZR4K")
    await manager.fill("[name=product_name]", "Old stock")
    await manager.click("[data-makes-id]")
    await manager.click("#import .primary")
    await expect(manager.locator("#mistakes h2")).to_have_text("Nothing was imported. Mistakes: 1")
    await expect(manager.locator("#mistakes tbody td")).to_have_text(["3", "root_key", "Line 2 has the same value."])
    await choose(manager, CSV.format(second="W9TX"))
    await expect(manager.locator("#mistakes")).to_be_hidden()
    await manager.click("#import .primary")
    await manager.wait_for_url("**/console/batches/*-*")
    await expect(manager.locator("h1")).to_have_text("Old stock")
    await expect(manager.get_by_text("2 of 2")).to_be_visible()
    await expect(manager.locator("#reconciled .good")).to_have_text("Every code is accounted for.")


async def test_an_import_that_gets_no_answer_is_sent_again_and_made_once(manager: Page, factory: Factory) -> None:
    await manager.goto(f"{factory.address}/console/batches/import")
    sent = 0

    async def lose_the_first_answer(route: Route) -> None:
        nonlocal sent
        sent += 1
        if sent > 1:
            await route.continue_()
            return
        await route.fetch()
        await route.abort()

    await manager.route("**/batches/import", lose_the_first_answer)
    await choose(manager, CSV.format(second="W9TX"))
    await manager.fill("[name=product_name]", "Old stock")
    await manager.click("[data-makes-id]")
    await manager.click("#import .primary")
    await manager.wait_for_url("**/console/batches/*-*")
    async with factory.client() as client:
        assert len((await client.get(f"{API}/batches")).json()["batches"]) == 1
    assert sent == 2


async def test_root_keys_appear_only_after_the_question_and_are_gone_on_reload(manager: Page, factory: Factory) -> None:
    batch = await factory.batch(12, exclude=None)
    await manager.goto(f"{factory.address}/console/batches/{batch.batch_id}/codes")
    keys = manager.locator("tbody [data-root-key]")
    button = manager.get_by_role("button", name="Show root keys")
    await button.click()
    await expect(manager.locator("#sure-question")).to_contain_text("Codes on this page: 12.")
    await manager.click("#sure button[value='']")
    await expect(keys.first).to_be_hidden()
    await button.click()
    await manager.click("#sure button[value=yes]")
    await expect(keys.first).to_be_visible()
    shown = await keys.all_text_contents()
    async with factory.client() as client:
        revealed = (await client.get(f"{API}/batches/{batch.batch_id}/codes?reveal=root_key")).json()["codes"]
    assert shown == [row["root_key"] for row in revealed]
    stored = await manager.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    assert not any(key in stored for key in shown)
    await manager.reload()
    await expect(keys.first).to_be_hidden()
    assert set(await keys.all_text_contents()) == {""}


async def test_a_recall_asks_with_counts_is_answered_to_consumers_and_is_lifted(
    manager: Page, factory: Factory
) -> None:
    batch = await factory.batch(20)
    symbol = f"{factory.address}/q/{batch.uniq_code}/SKA000003"
    consumer = await manager.context.new_page()
    await manager.goto(f"{factory.address}/console/batches/{batch.batch_id}")
    await manager.click("[data-opens=recall-codes]")
    dialog = manager.locator("#recall-codes")
    await dialog.locator("[name=codes]").fill("ska000003-ska000005 SKA000009")
    await dialog.locator("[name=reason]").fill("Glass in lot 7")
    await dialog.locator("[name=text_en]").fill("Stop. Bring it back to us.")
    await dialog.locator(".danger").click()
    await expect(manager.locator("#sure-question")).to_contain_text("Units to recall: 4, of which consumers")
    await consumer.goto(symbol)
    await expect(consumer.get_by_text("Stop. Bring it back to us.")).to_have_count(0)
    await manager.click("#sure button[value=yes]")
    await expect(manager.get_by_text("Glass in lot 7")).to_be_visible()
    await consumer.goto(symbol)
    await expect(consumer.get_by_text("Stop. Bring it back to us.")).to_be_visible()
    await manager.get_by_role("button", name="Lift the recall").click()
    await manager.fill("dialog[open] [name=reason]", "No glass found")
    await manager.click("dialog[open] .primary")
    await expect(manager.get_by_text("Nothing of this batch is recalled.")).to_be_visible()
    await consumer.goto(symbol)
    await expect(consumer.get_by_text("Stop. Bring it back to us.")).to_have_count(0)


async def test_a_batch_with_variants_is_ordered_released_and_closed(manager: Page, factory: Factory) -> None:
    await manager.goto(f"{factory.address}/console/batches")
    await manager.click("[data-opens=order]")
    await manager.fill("[name=product_name]", "Gold")
    await manager.click("[data-makes-id]")
    await manager.fill("[name=units_per_case]", "10")
    await manager.fill("[name=serial_prefix]", "var")
    await manager.click("#order summary")
    await manager.fill("[name=variants]", "10 g 15\n5 g box: 8")
    await expect(manager.locator("#order-makes")).to_have_text(
        "Makes 23 codes in 2 variants that begin with VAR, in 3 cases. No case holds two variants."
    )
    await manager.fill("[name=lot]", "LOT-7")
    await manager.check("[name=requires_release]")
    await manager.fill("[name='notify.email']", "shift@plant.example")
    await manager.click("#order-form .primary")
    await manager.wait_for_url("**/console/batches/*-*")
    batch_id = manager.url.rpartition("/")[2]
    await factory.until_codes_exist(batch_id)
    async with factory.client() as client:
        made = (await client.get(f"{API}/batches/{batch_id}")).json()["batch"]
    assert made["variants"] == [{"variant": "10 g", "quantity": 15}, {"variant": "5 g box", "quantity": 8}]
    assert (made["lot"], made["requires_release"]) == ("LOT-7", True)

    await manager.get_by_role("button", name="Release", exact=True).click()
    await expect(manager.locator("#sure-question")).to_contain_text("only a recall stops it")
    await manager.click("#sure button[value=yes]")
    await expect(manager.get_by_text("On sale since")).to_be_visible()
    await manager.reload()
    await manager.click("[data-opens=close]")
    await expect(manager.locator("#close")).to_contain_text("This cannot be undone.")
    await manager.fill("#close [name=reason]", "Run ended short")
    await manager.click("#close .danger")
    await expect(manager.get_by_text("Run ended short")).to_be_visible()
    await expect(manager.locator("#reconciled")).to_contain_text("Voided by closing the batch")


async def test_a_release_time_is_that_of_the_plant_whatever_the_computer_says(
    open_page: OpenPage, factory: Factory
) -> None:
    page = await open_page(timezone_id="America/New_York")
    await Station(page, factory).sign_in()
    order = {"order_id": str(uuid4()), "product_name": "Soap", "quantity": 5, "serial_prefix": "SOA"}
    async with factory.client() as client:
        made = await client.post(f"{API}/batches", json=order | {"requires_release": True})
        path = f"{API}/batches/{made.json()['batch_id']}"
        await page.goto(f"{factory.address}/console/batches/{made.json()['batch_id']}")
        await expect(page.get_by_text("In the time of the plant, Asia/Jakarta.")).to_be_visible()
        await page.fill("[name=at]", "2090-07-01T08:00")
        await page.get_by_role("button", name="Release", exact=True).click()
        await page.click("#sure button[value=yes]")
        await expect(page.get_by_text("On sale from 2090-07-01 08:00 WIB on.")).to_be_visible()
        released_at = (await client.get(path)).json()["batch"]["released_at"]
    assert datetime.fromisoformat(released_at) == datetime(2090, 7, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("width", [390, 1280])
async def test_the_page_shows_the_effect_of_a_change_in_view(open_page: OpenPage, factory: Factory, width: int) -> None:
    """The release opens the page anew. On a phone its end, where it is said, is far away."""
    page = await open_page(viewport={"width": width, "height": 720})
    await Station(page, factory).sign_in()
    order = {"order_id": str(uuid4()), "product_name": "Soap", "quantity": 5, "serial_prefix": "SOA"}
    async with factory.client() as client:
        made = await client.post(f"{API}/batches", json=order | {"requires_release": True})
    await page.goto(f"{factory.address}/console/batches/{made.json()['batch_id']}")
    said = page.locator("main > [data-said]")
    await page.get_by_role("button", name="Release", exact=True).click()
    await page.click("#sure button[value=yes]")
    await expect(said).to_have_text("The release is saved.")
    await expect(said).to_be_in_viewport(ratio=1)
    await page.reload()
    await expect(page.get_by_text("On sale since")).to_be_visible()
    await expect(said).to_have_text("")


async def test_jobs_of_a_batch_stand_side_by_side(manager: Page, factory: Factory) -> None:
    batch: Batch = await factory.batch(20)
    async with factory.client() as client:
        job = {"batch_id": batch.batch_id, "order_id": batch.order_id, "exclude_codes": ["SKA000002"]}
        assert (await client.post(f"{API}/reverse-job/submit", json=job | {"wait": 30})).is_success
    await manager.goto(f"{factory.address}/console/batches/{batch.batch_id}")
    jobs = manager.locator(".job a[href^='/console/jobs/']")
    await expect(jobs).to_have_count(2)
    await jobs.first.click()
    await expect(manager.locator("h1")).to_have_text("Gold 1 g")
    await expect(manager.locator(".head p")).to_contain_text("SKA000001 – SKA000020 · Reverse job")
