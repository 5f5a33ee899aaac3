"""The pages for people, as a browser without internet reads them: each address that they name is asked for."""

import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx2
import pytest
from fastapi import FastAPI

import promised
from qrtrack.main import create_app
from qrtrack.routers.pages import START
from qrtrack.settings import Settings

HERE = "http://plant"


class Named(HTMLParser):
    """The addresses that a page loads or leads to, and the scripts that stand in the page itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value for name in ("src", "href") if (value := given.get(name)) is not None]
        if (tag == "script" and "src" not in given) or tag == "style" or any(name.startswith("on") for name in given):
            self.inline.append(tag)


@cache
def application(*, with_api: bool) -> FastAPI:
    return promised.application() if with_api else create_app(Settings(_env_file=None), with_api=False)


def browser(*, with_api: bool = True, prefix: str = "") -> httpx2.AsyncClient:
    app = application(with_api=with_api)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app, root_path=prefix), base_url=HERE + prefix)


async def test_the_start_page_leads_to_the_console() -> None:
    async with browser() as client:
        answer = await client.get("/")
    assert answer.status_code == 307
    assert urljoin(f"{HERE}/", answer.headers["Location"]) == f"{HERE}/console"


async def test_the_description_is_a_page() -> None:
    async with browser() as client:
        answer = await client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("prefix", ["", "/qrtrack"])
async def test_all_that_the_description_loads_comes_from_this_service(prefix: str) -> None:
    async with browser(prefix=prefix) as client:
        page = await client.get("/docs")
        named = Named(page.text)
        addresses = [
            urljoin(str(page.url), address) for address in [*named.addresses, *re.findall(r'url: "(.*)"', START)]
        ]
        assert len(addresses) == 6
        for address in addresses:
            assert address.startswith(f"{HERE}{prefix}/")
            found = await client.get(address)
            assert found.status_code == 200, address
            assert found.content, address
    assert named.inline == []


async def test_the_style_sheet_loads_nothing_from_outside() -> None:
    async with browser() as client:
        sheet = (await client.get("/docs/swagger-ui.css")).text
    loaded = re.findall(r"url\(\s*[\"']?([^)]{0,40})", sheet)
    assert loaded
    assert [address for address in loaded if not address.startswith("data:")] == []
    assert "@import" not in sheet


async def test_a_browser_is_told_to_load_and_call_nothing_elsewhere() -> None:
    async with browser() as client:
        page = await client.get("/docs")
    rules = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert all("http" not in sources and "*" not in sources for sources in rules.values())
    assert "validatorUrl: null" in START


async def test_assets_are_sent_once_and_confirmed_afterwards() -> None:
    async with browser() as client:
        first = await client.get("/docs/swagger-ui-bundle.js")
        again = await client.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": first.headers["etag"]})
        asked = await client.head("/docs/swagger-ui-bundle.js")
    assert len(first.content) > 1_000_000
    assert (again.status_code, again.content) == (304, b"")
    assert (asked.status_code, asked.content) == (200, b"")
    for answer in (first, again, asked):
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Fcore.py", "..%2f..%2ffastapi_offline%2fcore.py", "%2Fetc%2Fpasswd"]
)
async def test_the_docs_folder_serves_no_other_file(name: str) -> None:
    async with browser() as client:
        answer = await client.get(f"/docs/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
async def test_pages_of_the_framework_that_would_load_from_elsewhere_are_off(path: str) -> None:
    async with browser() as client:
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/swagger-ui.css"])
async def test_a_process_without_an_api_describes_none(path: str) -> None:
    async with browser(with_api=False) as client:
        assert (await client.get(path)).status_code == 404


async def test_pages_are_no_part_of_the_api_s_description() -> None:
    async with browser() as client:
        document = (await client.get("/openapi.json")).json()
    assert [path for path in document["paths"] if path == "/" or path.startswith("/docs")] == []
