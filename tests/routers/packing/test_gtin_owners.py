"""Company prefixes over HTTP."""

import httpx2

from qrtrack.domain.identity import Caller, Role

API = "/api/manufacturer/gs1-prefixes"


async def test_a_prefix_is_claimed_listed_and_deleted(client: httpx2.AsyncClient, operator: httpx2.AsyncClient) -> None:
    claimed = await client.put(f"{API}/8991234")
    assert (claimed.status_code, claimed.json()["prefix"]) == (200, "8991234")
    assert [row["prefix"] for row in (await operator.get(API)).json()["gs1_prefixes"]] == ["8991234"]
    assert (await client.delete(f"{API}/8991234")).json() == {"success": True, "prefix": "8991234"}
    assert (await client.delete(f"{API}/8991234")).status_code == 404
    assert (await client.get(API)).json() == {"success": True, "gs1_prefixes": []}


async def test_another_organisation_is_refused_with_a_way_out(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    await client.put(f"{API}/8991234")
    refused = await stranger.put(f"{API}/89912")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:qrtrack:problem:prefix-taken")
    order = {
        "order_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10", "product_name": "Gold", "quantity": 1,
        "serial_prefix": "SKA", "gtin": "8991234567891",
    }  # fmt: skip
    refused = await stranger.post("/api/manufacturer/batches", json=order)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:qrtrack:problem:gtin-taken")
    assert refused.json()["gtin"] == "08991234567891"
    assert (await stranger.get("/api/manufacturer/batches")).json()["batches"] == []
    assert (await client.post("/api/manufacturer/batches", json=order)).status_code == 202


async def test_only_an_administrator_claims_prefixes(
    client: httpx2.AsyncClient, caller: Caller, sign_in: object
) -> None:
    assert callable(sign_in)
    manager = sign_in(Caller("manager", caller.organisation_id, frozenset({Role.MANAGER})))
    for answer in (await manager.put(f"{API}/8991234"), await manager.delete(f"{API}/8991234")):
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:qrtrack:problem:missing-role")
    for text in ("899", "8991234567890", "89912a4", "+8991"):
        refused = await client.put(f"{API}/{text}")
        assert [error["code"] for error in refused.json()["errors"]] == ["bad_company_prefix"], text
