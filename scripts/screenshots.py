"""Takes screenshots of all pages of the console: `make screenshots`.

Starts a server on an embedded PostgreSQL, with one plant that has data on every page and an empty one. Takes each page
for phone, tablet and desktop, in light and dark, in both languages, of both plants. With `--readme` it takes the three
pictures of the README instead.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import httpx2
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from console.conftest import ARGUMENTS, CHROMIUM
from console.every_page import pages
from console.full_plant import STATIONS, fill_plant, settings_for
from plant import Plant
from process import serving, settings_of
from qrtrack.console.language import LANGUAGE_COOKIE
from qrtrack.database import Database
from qrtrack.domain.identity import Caller, Role
from qrtrack.postgresql import embedded
from qrtrack.routers.dependencies import SESSION_COOKIE
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.services.console_sessions import open_session

ROOT: Final = Path(__file__).parents[1]
SCREENS: Final = {
    "phone": ViewportSize(width=390, height=844),
    "tablet": ViewportSize(width=768, height=1024),
    "desktop": ViewportSize(width=1280, height=800),
}
Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
LIMIT: Final = 150_000


@dataclass(frozen=True)
class Gallery:
    """A running console with two plants, `full` and `empty`. `seeds`: ids of things in the full plant, by name."""

    browser: Browser
    site: str
    runtime: Runtime
    plants: Mapping[str, Plant]
    seeds: Mapping[str, str]

    async def cookies(self, plant: str, language: str) -> dict[str, str]:
        caller = self.plants[plant].caller
        session = await open_session(self.runtime.database, caller, station=STATIONS[0], hours=1)
        return {SESSION_COOKIE: session, LANGUAGE_COOKIE: language}

    @asynccontextmanager
    async def open(self, plant: str, language: str, theme: Theme, screen: str) -> AsyncIterator[Page]:
        context = await self.browser.new_context(viewport=SCREENS[screen], color_scheme=theme)
        cookies = await self.cookies(plant, language)
        await context.add_cookies([{"name": name, "value": value, "url": self.site} for name, value in cookies.items()])
        yield await context.new_page()
        await context.close()

    async def addresses(self, plant: str) -> list[str]:
        seeds = self.seeds if plant == "full" else {"q": "SKA999999"}
        cookies = await self.cookies(plant, "en")
        async with httpx2.AsyncClient(base_url=self.site, cookies=cookies, trust_env=False, timeout=60) as client:
            return await pages(client, seeds, is_empty=plant == "empty")

    def name_of(self, address: str) -> str:
        for name, value in self.seeds.items():
            address = address.replace(value, name) if len(value) > 8 else address
        return re.sub(r"\W+", "-", address.removeprefix("/console")).strip("-") or "overview"


@asynccontextmanager
async def open_gallery() -> AsyncIterator[Gallery]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qrtrack-screenshots-")))
        server = stack.enter_context(embedded.start(folder / "postgresql", durable=False))
        database = Database.connect(server.url(), pool_size=1)
        await database.migrate()
        await database.close()
        runtime = await stack.enter_async_context(open_runtime(settings_of(server.url(), folder)))
        plants = {name: Plant(runtime, _administrator()) for name in ("full", "empty")}
        settings = {"DATABASE_URL": server.url(), **settings_for(plants["full"])}
        site = stack.enter_context(serving(folder, "--no-worker", **settings))
        seeds = await fill_plant(plants["full"])
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield Gallery(browser, site, runtime, plants, seeds)
        await browser.close()


def _administrator() -> Caller:
    return Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN}))


async def take_all(gallery: Gallery, folder: Path, only: str) -> int:
    taken = 0
    for plant, language, theme, screen in product(gallery.plants, LANGUAGES, THEMES, SCREENS):
        async with gallery.open(plant, language, theme, screen) as page:
            for address in await gallery.addresses(plant):
                if only in address:
                    await page.goto(gallery.site + address)
                    name = f"{gallery.name_of(address)}-{screen}-{theme}-{language}-{plant}.png"
                    await page.screenshot(path=folder / name, full_page=True)
                    taken += 1
    return taken


async def take_for_readme(gallery: Gallery, folder: Path) -> int:
    """Takes the packing page with a packed case on a tablet, a batch, and the overview in the dark theme."""
    batch = gallery.seeds["batch_id"]
    async with gallery.open("full", "en", "light", "tablet") as page:
        await page.goto(f"{gallery.site}/console/packing?batch={batch}")
        await page.keyboard.type(gallery.seeds["next_master_code"])
        await page.keyboard.press("Enter")
        await expect(page.locator("#verdict")).to_have_class("verdict good")
        await page.screenshot(path=folder / "packing.png")
    async with gallery.open("full", "en", "light", "desktop") as page:
        await page.goto(f"{gallery.site}/console/batches/{batch}")
        await page.screenshot(path=folder / "batch.png")
    async with gallery.open("full", "en", "dark", "desktop") as page:
        await page.goto(f"{gallery.site}/console")
        await page.screenshot(path=folder / "overview.png")
    for name in ("packing", "batch", "overview"):
        size = (folder / f"{name}.png").stat().st_size
        assert size < LIMIT, f"{name}.png has {size:,} bytes, which is more than {LIMIT:,}"
    return 3


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="only pages whose address contains this text")
    parser.add_argument("--readme", action="store_true", help="the three pictures of the README, into docs/images")
    parser.add_argument("--folder", type=Path, help="default: build/screenshots")
    options = parser.parse_args()
    folder = options.folder or ROOT / ("docs/images" if options.readme else "build/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    async with open_gallery() as gallery:
        taken = await (take_for_readme(gallery, folder) if options.readme else take_all(gallery, folder, options.only))
    print(f"{taken} pictures are in {folder}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
