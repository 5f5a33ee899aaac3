"""A real browser for the tests of the console: the machine's Chromium, driven by Playwright.

One browser serves the whole test run, and its objects belong to the event loop that made them. All async tests and
fixtures of this folder therefore share one loop: a fixture here needs `loop_scope="session"`. The asynchronous API is
used because the synchronous one leaves a running loop behind in the thread, on which every later async test fails.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, async_playwright

from console.station import Factory, MortalServer, Station
from process import serving
from static_site import Site, open_site
from ticking import HANG_SECONDS

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
ARGUMENTS = (
    "--no-sandbox",  # root cannot start Chromium's sandbox, and the tests load nothing but our own pages
    "--no-proxy-server",
    # An http origin that is no loopback address, as on a plant's network: http://plant.test is no secure context.
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)
# Chromium logs each refused request as an error. A refusal is an answer that a page must handle: `watch` judges these
# by what was asked for.
REFUSED_REQUEST = "Failed to load resource:"
ANSWERED_BY_SCRIPT = {"document", "fetch", "xhr", "eventsource"}

OpenPage = Callable[..., Awaitable[Page]]


SESSION_LOOP = pytest.mark.asyncio(loop_scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Before pytest-asyncio asks: else it takes the loop to be the test's own, and ends the browser after each test."""
    if metafunc.definition.path.is_relative_to(HERE) and iscoroutinefunction(metafunc.function):
        metafunc.definition.add_marker(SESSION_LOOP, append=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and pytest_asyncio.is_async_test(item):
            item.add_marker(SESSION_LOOP, append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for the whole run. Each test opens contexts of its own: cookies and storage are not shared."""
    if CHROMIUM is None:
        pytest.skip("needs the system package chromium: scripts/browser.sh installs it")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """Console errors, violations of the CSP, uncaught exceptions and missing assets of the test's pages.

    Any of them fails the test. A test that provokes one takes it out of the list.
    """
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, complaints: list[str]) -> AsyncIterator[OpenPage]:
    """Opens a page in a context of its own. Keywords are those of `Browser.new_context`: viewport, color_scheme."""
    contexts: list[BrowserContext] = []

    async def open_page(**options: Any) -> Page:
        context = await browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(HANG_SECONDS * 1000)
        watch(context, complaints)
        return await context.new_page()

    yield open_page
    for context in contexts:
        await context.close()
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(open_page: OpenPage) -> Page:
    return await open_page()


def watch(context: BrowserContext, complaints: list[str]) -> None:
    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(REFUSED_REQUEST):
            complaints.append(message.text)

    def judge(answer: Response) -> None:
        if answer.status >= 400 and answer.request.resource_type not in ANSWERED_BY_SCRIPT:
            complaints.append(f"{answer.status} for the {answer.request.resource_type} {answer.url}")

    def miss(request: Request) -> None:
        # Another page was opened before the asset had arrived.
        if request.resource_type not in ANSWERED_BY_SCRIPT and request.failure != "net::ERR_ABORTED":
            complaints.append(f"{request.failure} for the {request.resource_type} {request.url}")

    context.on("console", hear)
    context.on("weberror", lambda error: complaints.append(f"Uncaught {error.error}"))
    context.on("response", judge)
    context.on("requestfailed", miss)


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        yield site


def _settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Those that the test module adds as its SETTINGS."""
    return {"POLL_SECONDS": "0.05", **getattr(request.module, "SETTINGS", {})}


@pytest.fixture(scope="module")
def address(
    request: pytest.FixtureRequest, migrated_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of one server for all tests of the module."""
    with serving(tmp_path_factory.mktemp("server"), DATABASE_URL=migrated_url, **_settings(request)) as address:
        yield address


@pytest.fixture
def factory(request: pytest.FixtureRequest, address: str, migrated_url: str, tmp_path: Path) -> Factory:
    """An organisation of the test's own, or the module's ORGANISATION."""
    given = {"organisation": request.module.ORGANISATION} if hasattr(request.module, "ORGANISATION") else {}
    return Factory(address, tmp_path, migrated_url, **given)


@pytest_asyncio.fixture(loop_scope="session")
async def station(page: Page, factory: Factory) -> Station:
    """Where a manager is signed in."""
    station = Station(page, factory)
    await station.sign_in()
    return station


@pytest.fixture
def mortal(request: pytest.FixtureRequest, migrated_url: str, tmp_path: Path) -> Iterator[MortalServer]:
    server = MortalServer(tmp_path, DATABASE_URL=migrated_url, **_settings(request))
    yield server
    server.kill()
