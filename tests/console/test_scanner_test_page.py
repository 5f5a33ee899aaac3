"""The scanner test page: what one scan of its label tells a person, without a touch."""

import io

import pytest_asyncio
import zxingcpp
from PIL import Image
from playwright.async_api import Page, expect

from console.station import Factory, Station
from qrtrack.domain.identity import Role

LABEL = 'qrTrack-Test:0123456789/YyZzAaQqMmWw"'
# The label as a scanner with the US layout types it on a French computer: the keys, and what they write there.
US_ON_FRENCH = "arTrqck)TestMà&é\"'(-è_ç!YyWwQqAa?,Zz%"


@pytest_asyncio.fixture(loop_scope="session")
async def station(page: Page, factory: Factory) -> Station:
    station = Station(page, factory)
    await station.sign_in(Role.OPERATOR)
    await page.goto(f"{factory.address}/console/scanner-test")
    return station


SCAN = """([typed, meant, end]) => {
    const places = { "-": "Minus", ":": "Semicolon", "/": "Slash", '"': "Quote" };
    const press = (key, code, shiftKey) =>
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true }));
    Array.from(typed).forEach((key, at) => {
        const sign = meant[at].toUpperCase();
        const code = places[sign] ?? (/[0-9]/.test(sign) ? `Digit${sign}` : `Key${sign}`);
        press(key, code, /[A-Z:"]/.test(meant[at]));
    });
    if (end) press("Enter", "Enter", false);
}"""


async def scan(page: Page, typed: str = LABEL, *, end: bool = True) -> None:
    """As fast as scanners are, however fast the machine is. The keys are those of the label on a US keyboard."""
    await page.evaluate(SCAN, [typed, LABEL, end])


async def test_the_label_on_the_screen_says_what_the_page_waits_for(station: Station) -> None:
    label = station.page.locator("#test-label img")
    [symbol] = zxingcpp.read_barcodes(Image.open(io.BytesIO(await label.screenshot())))
    assert symbol.text == LABEL


async def test_a_scan_is_heard_without_a_touch(station: Station) -> None:
    await station.scan(LABEL)
    await expect(station.page.locator("#typed")).to_have_text(LABEL)
    await expect(station.page.locator("#findings li")).to_have_count(6)
    await expect(station.page.locator("#findings")).to_contain_text("Enter ends the scan.")


async def test_the_page_lists_wrong_settings_first_until_they_are_changed(station: Station) -> None:
    page = station.page
    await scan(page, LABEL.upper(), end=False)
    await expect(page.locator("#scanner-title")).to_have_text("Settings to change: 2")
    first, second = (await page.locator("#findings li").all_inner_texts())[:2]
    assert "Set its suffix to Enter (CR)." in first
    assert "Switch case conversion off." in second
    await scan(page)
    await expect(page.locator("#scanner-title")).to_have_text("This scanner is set right")


async def test_another_keyboard_is_named_in_the_language_of_the_person(station: Station) -> None:
    page = station.page
    await page.context.add_cookies([{"name": "qrtrack_language", "value": "id", "url": station.factory.address}])
    await page.reload()
    await scan(page, US_ON_FRENCH)
    await expect(page.locator("#findings li").first).to_contain_text(
        "Atur bahasa keyboard pemindai ke Prancis (AZERTY)."
    )


async def test_text_typed_into_the_search_is_no_scan(station: Station) -> None:
    await station.page.focus("#search")
    await station.page.keyboard.type("SKA000001")
    await expect(station.page.locator("#search")).to_have_value("SKA000001")
    await expect(station.page.locator("#findings-card")).to_be_hidden()
