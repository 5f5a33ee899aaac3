"""Settings in a real browser: a manager adds, changes and deletes printers and label formats."""

import pytest_asyncio
from playwright.async_api import Page, expect

from console.station import Factory, Station
from qrtrack.domain.identity import Role

SETTINGS = {"PRINTER_NETWORKS": "127.0.0.0/8"}


@pytest_asyncio.fixture(loop_scope="session")
async def station(page: Page, factory: Factory) -> Station:
    station = Station(page, factory)
    await station.sign_in(Role.ADMIN)
    await page.goto(f"{factory.address}/console/settings")
    return station


async def test_a_printer_is_added_changed_and_deleted(station: Station) -> None:
    page = station.page
    await page.get_by_role("link", name="Add a printer").click()
    await page.fill("main [name=name]", "Line 1")
    await page.fill("[name=address]", "192.0.2.7:9100")
    await page.fill("[name=stations]", "Line 1, left\nLine 2")
    await page.select_option("[name=dpi]", "300")
    await page.locator("main button.primary").click()
    await expect(page.locator("#printer-form [data-said]")).to_have_text(
        "Address: PRINTER_NETWORKS does not permit 192.0.2.7. Correct it, or ask the administrator of the server to "
        "add the printer's network."
    )
    await page.fill("[name=address]", "127.0.0.9:9100")
    await page.locator("main button.primary").click()
    row = page.locator("#printers tbody tr")
    await expect(row).to_contain_text("Line 1, left, Line 2")
    await expect(row).to_contain_text("300 dpi")
    await expect(row.locator(".badge")).to_have_text("nothing printed yet")
    await page.get_by_role("link", name="Line 1").click()
    await expect(page.locator("[name=stations]")).to_have_value("Line 1, left\nLine 2")
    await page.fill("[name=stations]", "")
    await page.select_option("[name=preset]", "roll-50x30")
    await page.click("text=Calibration: the print")
    await page.fill("[name='calibration.dx']", "1.5")
    await page.locator("main button.primary").click()
    await expect(row).to_contain_text("none")
    async with station.factory.client() as client:
        [printer] = (await client.get("/api/manufacturer/printers")).json()["printers"]
    assert (printer["stations"], printer["preset"], printer["calibration"]["dx"]) == ([], "roll-50x30", 1.5)
    await page.get_by_role("link", name="Line 1").click()
    await page.get_by_role("button", name="Delete the printer").click()
    await expect(page.locator("#sure-question")).to_contain_text("Delete the printer Line 1?")
    await page.click("#sure button.primary")
    await expect(page.locator("#printers .empty")).to_contain_text("No printer yet")


async def test_a_field_error_is_shown_in_the_language_of_the_person(station: Station) -> None:
    page = station.page
    await page.context.add_cookies([{"name": "qrtrack_language", "value": "id", "url": station.factory.address}])
    await page.goto(f"{station.factory.address}/console/settings/new-printer")
    await page.fill("main [name=name]", "Lini 1")
    await page.fill("[name=address]", "192.0.2.7:9100")
    await page.locator("main button.primary").click()
    await expect(page.locator("#printer-form [data-said]")).to_have_text(
        "Alamat: PRINTER_NETWORKS tidak mengizinkan 192.0.2.7. Perbaiki, atau minta administrator server menambahkan "
        "jaringan printer."
    )


async def test_a_format_is_drawn_while_it_is_measured_then_stored_changed_and_deleted(station: Station) -> None:
    page = station.page
    await page.get_by_role("link", name="Add a format").click()
    lengths = {
        "width": "63.5", "height": "29.6", "grid.columns": "3", "grid.rows": "9", "margins.left": "7.2",
        "margins.top": "15.4", "pitch.x": "60", "pitch.y": "29.6",
    }  # fmt: skip
    await page.fill("main [name=name]", "a4-27")
    for name, value in lengths.items():
        await page.fill(f"[name='{name}']", value)
    await expect(page.locator(".preview")).to_contain_text("The labels overlap")
    await page.fill("[name='pitch.x']", "66")
    await expect(page.locator(".preview rect.label")).to_have_count(27)
    await page.locator("main button.primary").click()
    listed = page.locator("#formats li", has_text="a4-27")
    await expect(listed).to_contain_text("3 × 9 on 210 × 297 mm")
    await listed.get_by_role("link", name="Change").click()
    await page.fill("[name='grid.rows']", "8")
    await page.locator("main button.primary").click()
    await expect(listed).to_contain_text("3 × 8 on 210 × 297 mm")
    await listed.get_by_role("link", name="Change").click()
    await page.get_by_role("button", name="Delete the format").click()
    await page.click("#sure button.primary")
    await expect(page.locator("#formats li")).to_have_count(8)
