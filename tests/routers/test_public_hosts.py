"""Hosts of organisations serve public verification only, and each page names the host of its own packs."""

import re
from uuid import UUID

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from plant import Plant
from qrtrack.main import create_app
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings
from routers.conftest import ClientOf

ACME = "verify.acme.example"


@pytest.fixture
def visitor(plant: Plant, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    """Of a service whose first organisation has a host of its own; another host is retired."""
    settings = Settings(
        _env_file=None,
        **runtime.settings.model_dump(exclude_unset=True)
        | {
            "public_base_url": "https://qr.example.com",
            "public_hosts": f"{ACME}:443={plant.caller.organisation_id},other.example:8443={UUID(int=1)}",
            "retired_public_hosts": "OLD.example",
        },
    )
    object.__setattr__(runtime, "settings", settings)
    app = create_app(settings)

    # The document describes the API: on hosts without one its addresses answer 404.
    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return client_of(served, runtime)


async def status(visitor: httpx2.AsyncClient, host: str, path: str) -> int:
    return (await visitor.get(path, headers={"Host": host})).status_code


@pytest.mark.parametrize("host", [ACME, "Verify.ACME.example:443", f"{ACME}.", "other.example:8443", "old.example"])
async def test_such_a_host_has_no_api_and_no_docs(visitor: httpx2.AsyncClient, host: str) -> None:
    for path in ("/api/manufacturer/batches", "/docs", "/", "/openapi.json", "/metrics", "/readyz", "/api/verifyx/.."):
        assert await status(visitor, host, path) == 404, path
    signed_in = {"Host": host, "Authorization": "Bearer x"}
    assert (await visitor.post("/api/manufacturer/recall", json={}, headers=signed_in)).status_code == 404


@pytest.mark.parametrize("host", ["qr.example.com", "other.example", "127.0.0.1:8000", "evil.example"])
async def test_other_hosts_have_them(visitor: httpx2.AsyncClient, host: str) -> None:
    assert await status(visitor, host, "/api/manufacturer/batches") == 401
    assert await status(visitor, host, "/healthz") == 200


@pytest.mark.parametrize("host", [ACME, "old.example", "qr.example.com"])
async def test_every_public_host_verifies(visitor: httpx2.AsyncClient, plant: Plant, host: str) -> None:
    batch = await plant.batch(1)
    page = await visitor.get(f"/Q/{batch.uniq_code}", headers={"Host": host})
    assert (page.status_code, ACME in page.text, "qr.example.com" in page.text) == (200, True, False)
    for asset in re.findall(r'href="((?:\.\./)*q/assets/[^"]+)"', page.text):
        assert await status(visitor, host, "/" + asset.replace("../", "")) == 200
    sent = {"uniq_code": batch.uniq_code, "root_key": "WRONG"}
    checked = await visitor.post("/api/verify", json=sent, headers={"Host": host})
    assert (checked.status_code, checked.json()["result"]) == (200, "unknown")
