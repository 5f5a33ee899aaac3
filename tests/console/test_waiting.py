"""Whoever presses something learns after a second that it runs: every button and form of every page, and what a page
counts while somebody types. The server's answers are held back.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from console.every_page import pages
from console.full_plant import fill_plant, settings_for
from plant import Plant
from process import Broom, serving, settings_of
from qrtrack.console.language import catalogue
from qrtrack.domain.identity import Caller, Role
from qrtrack.routers.dependencies import SESSION_COOKIE
from qrtrack.runtime import open_runtime
from qrtrack.services.console_sessions import open_session
from ticking import HANG_SECONDS

SECOND: Final = 1000
WORKING: Final = catalogue("en")["press.working"]
# What changes something, shows keys, or fetches a part again.
CONTROLS: Final = "main [data-path], main [data-reveal], main button[hx-get]"
NAMED: Final = """const named = (control) =>
    control.dataset.path ?? control.dataset.reveal ?? control.getAttribute("hx-get");"""
LIST: Final = f"""() => {{ {NAMED} return [...document.querySelectorAll("{CONTROLS}")].map(named) }}"""
# Whatever the fields hold, it is sent. A dialog is opened, as its button would.
PRESS: Final = f"""(name) => {{
    {NAMED}
    const control = [...document.querySelectorAll("{CONTROLS}")].find((control) => named(control) === name);
    control.closest("details")?.setAttribute("open", "");
    control.closest("dialog")?.showModal();
    if (!(control instanceof HTMLFormElement)) return control.click();
    control.noValidate = true;
    control.requestSubmit(control.querySelector("button:not([type=button], [data-path], [data-close])"));
}}"""


class Held:
    """Requests whose answers never come."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    async def __call__(self, route: Route) -> None:
        self._routes.append(route)

    async def has_one(self, page: Page) -> None:
        """Waits for one. Whatever the page asks before it is answered with yes."""
        async with asyncio.timeout(HANG_SECONDS):
            while not self._routes:
                if await page.locator("#sure[open]").count():
                    await page.click("#sure [value=yes]")

    async def lose(self, page: Page) -> None:
        """They reach the server no more, also not after a reload: nothing is changed."""
        await page.evaluate("sessionStorage.clear()")
        while self._routes:
            await self._routes.pop().abort()
        await page.unroute_all()


@dataclass(frozen=True)
class Site:
    """A server with an organisation in which everything has happened: its address, its things, and its pages."""

    address: str
    cookies: Mapping[str, str]
    seeds: Mapping[str, str]
    paths: Sequence[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(migrated_url: str, broom: Broom, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("full")
    await broom.sweep()
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime(settings_of(migrated_url, folder)))
        plant = Plant(runtime, Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN})))
        server = serving(folder, "--no-worker", DATABASE_URL=migrated_url, **settings_for(plant))
        site = stack.enter_context(server)
        seeds = await fill_plant(plant)
        cookies = {SESSION_COOKIE: await open_session(runtime.database, plant.caller, station="Line 7", hours=1)}
        async with httpx2.AsyncClient(base_url=site, cookies=cookies, trust_env=False, timeout=60) as client:
            yield Site(site, cookies, seeds, await pages(client, seeds))


@pytest_asyncio.fixture(loop_scope="session")
async def admin(page: Page, full: Site, complaints: list[str]) -> AsyncIterator[Page]:
    """Its administrator's browser. Time passes when the test says so."""
    await page.context.add_cookies(
        [{"name": name, "value": value, "url": full.address} for name, value in full.cookies.items()]
    )
    await page.clock.install(time=0)
    await page.clock.pause_at(1000)
    yield page
    # htmx reports that the parts which were asked for did not come.
    await page.goto("about:blank")
    complaints[:] = [complaint for complaint in complaints if not complaint.startswith("htmx:")]


def kind_of(path: str) -> str:
    """The same control on another thing is no other control."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b\d+\b|\?.*", "*", path)


async def test_every_button_and_form_says_that_it_runs(admin: Page, full: Site) -> None:
    page, site = admin, full.address
    held, tried, silent = Held(), set[str](), []
    for address in full.paths:
        await page.goto(site + address, wait_until="networkidle")
        for control in await page.evaluate(LIST):
            if kind_of(control) in tried:
                continue
            tried.add(kind_of(control))
            if not await says_that_it_runs(page, control, held):
                silent.append(f"{control} on {address}")
            await held.lose(page)
            await page.goto(site + address, wait_until="networkidle")
    assert not silent, "\n".join(["After a second these show no word, such as press.working, that they run:", *silent])
    assert len(tried) > 20


async def says_that_it_runs(page: Page, control: str, held: Held) -> bool:
    await page.route(re.compile(r"/api/|/reconciliation$"), held)
    await page.evaluate(PRESS, control)
    await held.has_one(page)
    assert await page.get_by_text(WORKING, exact=True).locator("visible=true").count() == 0
    await page.clock.run_for(SECOND)
    return await page.get_by_text(WORKING, exact=True).locator("visible=true").count() > 0


async def test_a_count_that_runs_while_somebody_types_shows_that_it_runs(admin: Page, full: Site) -> None:
    page, seeds = admin, full.seeds
    held = Held()
    for address, field, asked, told in (
        (f"/console/batches/{seeds['batch_id']}/labels", "[name=first_code]", "/labels", "#will"),
        (f"/console/batches/{seeds['batch_id']}/labels", "[name=preset]:not(:checked)", "/picture", "#sheet"),
        ("/console/settings/new-format?kind=roll", "[name=width]", "/format-picture", ".preview"),
    ):
        await page.goto(full.address + address)
        await page.clock.run_for(SECOND)
        await page.route(re.compile(asked + r"(\?|$)"), held)
        await page.locator(field).first.dispatch_event("input")
        await page.locator(field).first.dispatch_event("change")
        await page.clock.run_for(300)
        await held.has_one(page)
        await page.clock.run_for(SECOND)
        await expect(page.locator(told)).to_have_text(WORKING)
        await held.lose(page)
