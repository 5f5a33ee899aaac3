"""Scanning with a camera: Chromium films a video of our own symbols. The reader is the one of the package."""

import io
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

from console.conftest import ARGUMENTS, CHROMIUM, watch
from console.station import Factory, Station
from qrtrack.domain.qr import draw_png
from static_site import Site

SIDE = 240
FRAMES_A_SECOND = 20
# Longer than the answer to a case takes on a busy machine: meanwhile no other case is taken.
SECONDS_OF_EACH = 5


def film(path: Path, codes: Sequence[str]) -> None:
    """One symbol after the other, again and again."""
    frames = b"".join(_frame(code) * int(FRAMES_A_SECOND * SECONDS_OF_EACH) for code in codes)
    path.write_bytes(f"YUV4MPEG2 W{SIDE} H{SIDE} F{FRAMES_A_SECOND}:1 Ip A1:1 C420jpeg\n".encode() + frames)


def _frame(code: str) -> bytes:
    symbol = Image.open(io.BytesIO(draw_png(code, scale=6))).convert("L")
    picture = Image.new("L", (SIDE, SIDE), 255)
    picture.paste(symbol, ((SIDE - symbol.width) // 2, (SIDE - symbol.height) // 2))
    return b"FRAME\n" + picture.tobytes() + bytes([128]) * (SIDE * SIDE // 2)


@dataclass
class Phone:
    """A phone whose camera films `path`."""

    browser: Browser
    path: Path

    async def page(self, complaints: list[str]) -> Page:
        context = await self.browser.new_context(viewport={"width": 390, "height": 844})
        watch(context, complaints)
        return await context.new_page()


@pytest_asyncio.fixture(loop_scope="session")
async def phone(tmp_path: Path, complaints: list[str]) -> AsyncIterator[Phone]:
    """A browser of its own: Chromium takes the video at its start, and opens it when a page asks for the camera."""
    if CHROMIUM is None:
        pytest.skip("needs the system package chromium: scripts/browser.sh installs it")
    path = tmp_path / "film.y4m"
    words = (
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={path}",
    )  # fmt: skip
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *words])
        yield Phone(browser, path)
        await browser.close()
    assert complaints == []


async def test_a_code_before_the_camera_is_searched_for(phone: Phone, factory: Factory, complaints: list[str]) -> None:
    """Without a violation of the page's policy, which allows no WebAssembly."""
    film(phone.path, ["SKA000042"])
    page = await phone.page(complaints)
    await Station(page, factory).sign_in()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    await page.reload()
    assert not {"camera.js", "barcode-detector.js", "zxing_reader.wasm"} & set(asked)
    await expect(page.locator(".menu [data-camera-reason]")).to_be_hidden()
    await page.click(".search [data-camera]")
    await page.wait_for_url("**/console/search?q=SKA000042")
    assert {"camera.js", "barcode-detector.js", "zxing_reader.wasm"} <= set(asked)


async def test_cases_are_packed_one_after_the_other_with_the_camera(
    phone: Phone, factory: Factory, complaints: list[str]
) -> None:
    batch = await factory.batch(quantity=20, units_per_case=10)
    film(phone.path, [batch.master_code(1), batch.master_code(2)])
    page = await phone.page(complaints)
    station = Station(page, factory)
    await station.sign_in()
    await station.open(batch)
    await page.click("#pack [data-camera]")
    await expect(page.locator("#recent tbody tr")).to_have_count(2)
    await page.click("#camera-close")
    await expect(page.locator("#camera")).to_be_hidden()
    assert await page.evaluate("document.querySelector('video').srcObject") is None
    assert len(await factory.packs(batch)) == 2


async def test_without_a_secure_context_the_page_says_why_there_is_no_camera(page: Page, factory: Factory) -> None:
    there = Factory(
        factory.address.replace("127.0.0.1", "plant.test"), factory.folder, factory.database_url,
        factory.organisation, factory.user,
    )  # fmt: skip
    await Station(page, there).sign_in()
    await page.click(".who summary")
    await expect(page.locator(".menu [data-camera-reason]")).to_contain_text("needs an address that begins with https")
    await expect(page.locator(".search [data-camera]")).to_be_hidden()


async def test_a_camera_that_is_refused_says_what_to_do(page: Page, factory: Factory) -> None:
    """This browser has no camera, or may not use it."""
    await Station(page, factory).sign_in()
    await page.evaluate("void import('/console/static/camera.js').then(({ openCamera }) => openCamera(() => false))")
    await expect(page.locator("#camera-said")).to_have_text(re.compile("cannot be used|does not let this page"))


# What one picture after another shows, and what is given out.
WATCHED = [
    ("A", None), ("A", "A"), ("A", None), (None, None), (None, None), ("A", None), ("A", None),
    *[(None, None)] * 5, ("A", None), ("B", None), ("A", None), ("A", "A"), ("B", None), ("B", "B"), ("A", None),
]  # fmt: skip


async def test_a_code_counts_when_it_was_read_twice_and_again_when_it_was_out_of_view(page: Page, site: Site) -> None:
    await page.goto(site.url)
    found = await page.evaluate(
        """async (seen) => {
            const { Sightings } = await import('/console/static/sightings.js');
            const sightings = new Sightings();
            return seen.map((text) => sightings.take(text));
        }""",
        [seen for seen, _ in WATCHED],
    )
    assert found == [given for _, given in WATCHED]


async def test_the_camera_takes_the_code_in_the_middle_of_several(page: Page, site: Site) -> None:
    await page.goto(site.url)
    seen = [
        {"rawValue": name, "boundingBox": {"x": x, "y": y, "width": 100, "height": 100}}
        for name, x, y in (("corner", 0, 0), ("middle", 420, 460), ("edge", 900, 450))
    ]
    aimed_at = (
        "async (seen) => (await import('/console/static/sightings.js')).aimedAt(seen, {width: 1000, height: 1000})"
    )
    assert await page.evaluate(aimed_at, seen) == "middle"
    assert await page.evaluate(aimed_at, []) is None
