"""Signing in: how long a link and a session hold, what a preview of a link spends, and what every page promises."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx2
import pytest
from fastapi import FastAPI

from plant import Plant
from qrtrack.domain.identity import Caller
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import find_session, make_sign_in_code, open_session_by_code
from qrtrack.settings import Settings
from routers.conftest import ClientOf

PAGE: Final = "/console/sign-in"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A shift of eight hours, not the usual twelve."""
    return settings.model_copy(update={"console_session_hours": 8.0})


@pytest.fixture
def visitor(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(app, runtime)


async def test_a_preview_of_a_link_spends_nothing(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller
) -> None:
    """It runs no script. Browsers and previews do not send what stands behind the #."""
    code = await make_sign_in_code(runtime.database, caller)
    for address in (f"{PAGE}#{code}", f"{PAGE}?code={code}"):
        preview = await visitor.get(address)
        assert preview.status_code in (200, 422)
        assert "Set-Cookie" not in preview.headers
    answer = await visitor.post(PAGE, data={"code": code}, headers={"Origin": "http://test"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console")


async def test_a_link_holds_for_ten_minutes(runtime: Runtime, plant: Plant, caller: Caller) -> None:
    code = await make_sign_in_code(runtime.database, caller)
    [[age]] = await plant.sql(
        "SELECT expires_at - now() FROM console_sign_in_codes WHERE user_id = :u", u=caller.user_id
    )
    assert timedelta(minutes=9) < age <= timedelta(minutes=10)
    await plant.sql("UPDATE console_sign_in_codes SET expires_at = now() - interval '1 second'")
    assert await open_session_by_code(runtime.database, code, station=None, hours=1) is None


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_session_lasts_a_shift_and_its_cookie_is_secure_over_https(
    visitor: httpx2.AsyncClient, runtime: Runtime, caller: Caller, scheme: str
) -> None:
    code = await make_sign_in_code(runtime.database, caller)
    origin = {"Origin": f"{scheme}://test"}
    answer = await visitor.post(f"{scheme}://test{PAGE}", data={"code": code}, headers=origin)
    cookie = answer.headers["Set-Cookie"]
    assert "Max-Age=28800;" in cookie
    assert ("Secure" in cookie) == (scheme == "https")
    session = await find_session(runtime.database, cookie.partition("=")[2].partition(";")[0])
    assert session is not None
    assert timedelta(hours=7) < session.expires_at - datetime.now(UTC) <= timedelta(hours=8)


async def test_every_page_has_the_whole_policy_and_htmx_evaluates_nothing(visitor: httpx2.AsyncClient) -> None:
    refused = await visitor.post(PAGE, data={"token": "x"}, headers={"Origin": "http://test"})
    for page in (await visitor.get(PAGE), refused):
        assert page.headers["Content-Security-Policy"] == POLICY
    [config] = re.findall(r"name=\"htmx-config\" content='([^']*)'", (await visitor.get(PAGE)).text)
    assert {"allowEval": False, "includeIndicatorStyles": False}.items() <= json.loads(config).items()
