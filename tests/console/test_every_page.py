"""What holds for all pages of the console, empty and full, in both themes and languages, on a phone and on a desktop.

One crawl visits every page that every_page.py finds and inspects it; each test looks at the findings of one kind.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize

from console.conftest import watch
from console.every_page import addresses, pages
from console.full_plant import fill_plant, settings_for
from plant import Plant
from process import Broom, serving, settings_of
from qrtrack.console.language import LANGUAGE_COOKIE, catalogue
from qrtrack.domain.identity import Caller, Role
from qrtrack.routers.dependencies import SESSION_COOKIE
from qrtrack.runtime import open_runtime
from qrtrack.services.console_sessions import open_session
from static_site import Site
from ticking import HANG_SECONDS

HERE: Final = Path(__file__).parent
AXE: Final = HERE / "node_modules/axe-core/axe.min.js"
INSPECTIONS: Final = HERE / "inspections.js"
PHONE: Final = ViewportSize(width=360, height=740)
TABLET: Final = ViewportSize(width=768, height=1024)
DESKTOP: Final = ViewportSize(width=1280, height=800)
OTHER: Final = {"en": "id", "id": "en"}


@dataclass(frozen=True)
class Visit:
    """One browser that goes through pages. `findings`: what is wrong, by its kind."""

    context: BrowserContext
    language: str
    is_phone: bool
    findings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    complaints: list[str] = field(default_factory=list)
    patience: float = HANG_SECONDS

    async def crawl(self, site: str, paths: Sequence[str]) -> None:
        watch(self.context, self.complaints)
        await self.context.add_init_script(path=INSPECTIONS)
        page = await self.context.new_page()
        for path in paths:
            await page.goto(site + path, wait_until="load")
            await self.inspect(page, f"{path} ({self.language}, {'phone' if self.is_phone else 'desktop'})")

    async def inspect(self, page: Page, where: str) -> None:
        async def ask(kind: str, question: str, note: str = "") -> None:
            self.findings[kind] += [f"{where}{note}: {what}" for what in await page.evaluate(f"inspections.{question}")]

        for _ in range(2):
            await ask("jumps", f"tick({self.patience * 1000})")
        await ask("jumps", "shifts")
        found = await page.evaluate("[document.documentElement.lang, inspections.texts()]")
        wrong = [f"<html lang={found[0]}>"] if found[0] != self.language else []
        self.findings["words"] += [f"{where}: {text}" for text in wrong + foreign(found[1], self.language)]
        await ask("sideways", "sideways()")
        await page.evaluate("inspections.openAll()")
        await ask("small", "small()")
        await ask("figures", "figures()")
        if self.is_phone:
            await ask("cards", "cards()")
            await self._ask_axe(page, ask)
            await ask("sideways", "sideways()", " with its menus open")
        else:
            await page.set_viewport_size(TABLET)
            await ask("sideways", "sideways()", " on a tablet")
            await page.set_viewport_size(DESKTOP)
            await self._press_tab(page, ask)
            await ask("keyboard", f"keepFocus({self.patience * 1000})")
        self.findings["complaints"] += [f"{where}: {what}" for what in self.complaints]
        self.complaints.clear()

    async def _ask_axe(self, page: Page, ask: Any) -> None:
        """In the light theme all rules, in the dark one those of colours; then each dialog."""
        if AXE.exists():
            await page.evaluate(_axe())
            await ask("axe", "axe()")
            await page.emulate_media(color_scheme="dark")
            await ask("axe", "axe(['color-contrast'])", " in the dark")
            await page.emulate_media(color_scheme="light")
        for number in range(await page.evaluate("inspections.dialogs()")):
            note = f", dialog #{await page.evaluate(f'inspections.show({number})')}"
            await ask("small", "small()", note)
            await ask("sideways", "sideways()", note)
            if AXE.exists():
                await ask("axe", "axe()", note)
            await page.evaluate(f"inspections.close({number})")

    async def _press_tab(self, page: Page, ask: Any) -> None:
        await page.evaluate("inspections.closeAll()")
        # Ages change by the minute: what was reached and is swapped then would count as missed.
        await page.evaluate("addEventListener('htmx:beforeSwap', (event) => { event.detail.shouldSwap = false; })")
        for _ in range(await page.evaluate("inspections.followFocus()") + 1):
            await page.keyboard.press("Tab")
        await ask("keyboard", "missedFocus()")


@cache
def _axe() -> str:
    return AXE.read_text()


def foreign(texts: Sequence[str], language: str) -> list[str]:
    """The texts that the catalogue of the other language says, and that of the page's own language does not."""
    return [text for text in texts if _said_in(OTHER[language])(text) and not _said_in(language)(text)]


@cache
def _said_in(language: str) -> Any:
    """Texts of a placeholder and a letter or two say nothing in any language."""
    texts = [text for text in catalogue(language).values() if len(re.findall(r"[^\W\d]", _without(text))) > 2]
    patterns = [re.sub(r"\\\{\w+(?::.*?)?\\\}", ".+", re.escape(" ".join(text.split()))) for text in texts]
    return re.compile("|".join(patterns)).fullmatch


def _without(text: str) -> str:
    return re.sub(r"\{\w+(?::.*?)?\}", "", text)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def findings(
    browser: Browser, migrated_url: str, broom: Broom, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, list[str]]]:
    """What the crawl of all pages found."""
    await broom.sweep()
    folder = tmp_path_factory.mktemp("every-page")
    all_findings: dict[str, list[str]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime(settings_of(migrated_url, folder)))
        full, empty = (Plant(runtime, Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN}))) for _ in range(2))
        # No worker: nothing changes while the pages are looked at.
        server = serving(folder, "--no-worker", DATABASE_URL=migrated_url, **settings_for(full))
        site = stack.enter_context(server)
        seeds = await fill_plant(full)
        crawls = []
        for plant, language, viewport in ((full, "en", PHONE), (full, "id", DESKTOP), (empty, "id", PHONE)):
            session = await open_session(runtime.database, plant.caller, station="Line 7", hours=1)
            cookies = {SESSION_COOKIE: session, LANGUAGE_COOKIE: language}
            paths = await _pages(site, cookies, seeds if plant is full else {"q": "SKA999999"}, is_empty=plant is empty)
            context = await browser.new_context(viewport=viewport)
            stack.push_async_callback(context.close)
            context.set_default_timeout(HANG_SECONDS * 1000)
            await context.add_cookies([{"name": name, "value": value, "url": site} for name, value in cookies.items()])
            visit = Visit(context, language, viewport is PHONE, all_findings)
            crawls.append(visit.crawl(site, paths))
        await asyncio.gather(*crawls)
        yield all_findings


async def _pages(site: str, cookies: dict[str, str], seeds: Mapping[str, str], *, is_empty: bool) -> list[str]:
    async with httpx2.AsyncClient(base_url=site, cookies=cookies, trust_env=False, timeout=HANG_SECONDS) as client:
        return await pages(client, seeds, is_empty=is_empty)


def say(found: Sequence[str], remedy: str) -> str:
    """The remedy, and each fault once with the pages that have it."""
    pages_of: dict[str, list[str]] = defaultdict(list)
    for finding in found:
        where, _, what = finding.partition(": ")
        pages_of[what].append(where)
    lines = [
        f"  {what}\n    on {', '.join(places[:3])}" + " …" * (len(places) > 3) for what, places in pages_of.items()
    ]
    return "\n".join([remedy, *lines[:40], *(["  …"] if len(lines) > 40 else [])])


async def test_no_page_breaks_its_policy_or_has_an_error(findings: dict[str, list[str]]) -> None:
    found = findings["complaints"]
    assert not found, say(found, "The browser's console of these pages is not empty:")


async def test_no_page_scrolls_sideways(findings: dict[str, list[str]]) -> None:
    found = findings["sideways"]
    assert not found, say(
        found,
        "These are wider than a phone of 360 px or a tablet, or stick out of their card. Let long texts break "
        "(overflow-wrap: anywhere, min-width: 0), let rows wrap, and give each <td> its data-label:",
    )


@pytest.mark.skipif(not AXE.exists(), reason="needs the package axe-core, once: npm ci --prefix tests/console")
async def test_axe_finds_nothing_serious(findings: dict[str, list[str]]) -> None:
    found = findings["axe"]
    assert not found, say(found, "axe-core calls these serious or critical (https://dequeuniversity.com/rules/axe/):")


async def test_every_text_is_translated(findings: dict[str, list[str]]) -> None:
    found = findings["words"]
    assert not found, say(found, "These texts are in another language than their page. Use t(…) and the catalogues:")


async def test_every_control_can_be_touched(findings: dict[str, list[str]]) -> None:
    found = findings["small"]
    assert not found, say(
        found,
        "A finger misses these. Links in a table or a list get their height from console.css (td a, li a); others need "
        "min-height: 44px, and 64px in #line of the packing page:",
    )


async def test_tables_are_cards_on_a_phone(findings: dict[str, list[str]]) -> None:
    found = findings["cards"]
    assert not found, say(found, "Below 640 px a table is too wide. Write each <td> with the macro `cell`:")


async def test_numbers_have_tabular_figures(findings: dict[str, list[str]]) -> None:
    found = findings["figures"]
    assert not found, say(found, "Let these inherit font-variant-numeric: tabular-nums from the body:")


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(findings: dict[str, list[str]]) -> None:
    found = findings["keyboard"]
    assert not found, say(found, "Tab must reach these, and :focus-visible must be seen there:")


async def test_pages_do_not_jump_when_they_load_or_refresh(findings: dict[str, list[str]]) -> None:
    found = findings["jumps"]
    assert not found, say(
        found,
        "These moved by themselves. Give pictures width and height, and what comes later its place from the start:",
    )


# Every kind of fault. The script moves the paragraph after the page was shown.
BROKEN: Final = """<!doctype html><html lang="en"><title>broken</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/broken.css"><script src="/broken.js" defer></script><body><main>
<div id="late"></div><p class="pale">Kode yang rusak</p><div class="wide">x</div>
<button class="low"></button><button class="dull">Dull</button><button>Behind</button>
<table><thead><tr><th>Case</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>
<div hx-get="/never" hx-trigger="tick from:body"></div></main>"""
STYLE: Final = """.wide { width: 900px } .pale { color: #ccc } .late { height: 90px } .low { height: 20px; width: 50px }
.dull { min-height: 44px } .dull:focus { outline: none }"""
SCRIPT: Final = """addEventListener("load", () => { requestAnimationFrame(() => setTimeout(() => {
document.getElementById("late").className = "late"; })); });
document.addEventListener("keydown", (event) => { if (event.target.matches(".dull")) event.preventDefault(); });
console.error("broken");"""


async def test_the_inspections_find_every_kind_of_fault(browser: Browser, site: Site) -> None:
    site.files = {"/broken.html": BROKEN, "/broken.css": STYLE, "/broken.js": SCRIPT}
    kinds: dict[str, list[str]] = defaultdict(list)
    for viewport in (PHONE, DESKTOP):
        context = await browser.new_context(viewport=viewport)
        visit = Visit(context, "id", viewport is PHONE, kinds, patience=1)
        await visit.crawl(site.url, ["/broken.html"])
        await context.close()
    said = {kind: "\n".join(found) for kind, found in kinds.items()}
    assert "broken" in said["complaints"]
    assert "<html lang=en>" in said["words"]
    assert "px too wide" in said["sideways"]
    assert "is 20 px high, not 44" in said["small"]
    assert "the head <thead>" in said["cards"]
    assert "is in no card" in said["cards"]
    assert "has no data-label" in said["cards"]
    assert '<td> "1"' in said["figures"]
    assert "no outline at" in said["keyboard"]
    assert "Tab misses" in said["keyboard"]
    assert "/never" in said["jumps"]
    assert "moved" in said["jumps"]
    if AXE.exists():
        assert "button-name" in said["axe"]
        assert "color-contrast" in said["axe"]


def test_a_text_of_the_other_language_is_found() -> None:
    english = catalogue("en")["packing.none_todo"]
    assert foreign([english, catalogue("id")["packing.none_todo"], "Gold 1 g"], "id") == [english]


def test_a_page_that_nothing_fills_is_named() -> None:
    with pytest.raises(AssertionError, match=r"Nothing fills \{batch_id\} of the page /console/batches/"):
        addresses({"batch": "x"})
