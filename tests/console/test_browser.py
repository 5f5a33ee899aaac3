"""The fixtures of this folder: a page that has an error fails its test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from endpoint import Endpoint, Received, answer, open_endpoint

POLICY = "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'"
PAGES = {
    "/exception": "missing()",
    "/logged": "console.error('logged')",
    "/missing-asset": "document.body.append(Object.assign(new Image(), {src: '/nowhere.png'}))",
    "/violation": "document.body.setAttribute('style', 'color: red')",
    "/refused-request": "await fetch('/api/refused', {method: 'POST'})",
}


def reply(request: Received) -> bytes:
    if request.path in PAGES:
        body = f"<!DOCTYPE html><link rel=icon href=data:,><body><script type=module src={request.path}.js></script>"
        return answer(200, body, content_type="text/html", content_security_policy=POLICY)
    if request.path.removesuffix(".js") in PAGES:
        script = f"{PAGES[request.path.removesuffix('.js')]}; document.title = 'done'"
        return answer(200, script, content_type="text/javascript")
    return answer(409 if request.path == "/api/refused" else 404)


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        endpoint.reply = reply
        yield endpoint


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("exception", "missing is not defined"),
        ("logged", "logged"),
        ("missing-asset", "404 for the image"),
        ("violation", "Content Security Policy"),
    ],
)
async def test_a_page_with_an_error_fails_its_test(
    name: str, complaint: str, page: Page, site: Endpoint, complaints: list[str]
) -> None:
    await page.goto(f"{site.url}/{name}", wait_until="networkidle")
    [found] = complaints
    assert complaint in found
    complaints.clear()


async def test_a_refusal_that_a_script_has_asked_for_is_no_error(page: Page, site: Endpoint) -> None:
    async with page.expect_response("**/api/refused") as refusal:
        await page.goto(f"{site.url}/refused-request", wait_until="networkidle")
    assert (await refusal.value).status == 409
    assert await page.title() == "done"


async def test_a_plants_network_is_no_secure_context(page: Page, site: Endpoint) -> None:
    await page.goto(f"http://plant.test:{site.port}/refused-request", wait_until="networkidle")
    assert await page.evaluate("[isSecureContext, typeof crypto.randomUUID]") == [False, "undefined"]
