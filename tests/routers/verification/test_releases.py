"""Releasing over HTTP, and whether a batch asks for it."""

from typing import Any

import httpx2
import pytest

from plant import Plant
from qrtrack.runtime import Runtime

API = "/api/manufacturer/batches"
ORDER = {
    "order_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10", "product_name": "Gold", "quantity": 1, "serial_prefix": "SKA",
}  # fmt: skip


async def made(client: httpx2.AsyncClient, **asked: Any) -> str:
    return str((await client.post(API, json=ORDER | asked)).json()["batch_id"])


async def shown(client: httpx2.AsyncClient, batch_id: str) -> Any:
    return (await client.get(f"{API}/{batch_id}")).json()["batch"]


async def test_a_batch_says_whether_it_asks_for_a_release(client: httpx2.AsyncClient) -> None:
    batch = await shown(client, await made(client))
    assert (batch["requires_release"], batch["released_at"], batch["released_by"]) == (False, None, None)
    assert (await shown(client, await made(client, requires_release=True)))["requires_release"]


async def test_the_setting_is_the_default_and_the_request_has_the_last_word(
    client: httpx2.AsyncClient, runtime: Runtime
) -> None:
    asking = runtime.settings.model_copy(update={"verify_requires_release": True})
    object.__setattr__(runtime, "settings", asking)
    assert (await shown(client, await made(client)))["requires_release"]
    assert not (await shown(client, await made(client, requires_release=False)))["requires_release"]
    form = {"order_id": ORDER["order_id"], "product_name": "Old"}
    files = {"file": ("codes.csv", b"code\nOLD-1\n")}
    imported = await client.post(f"{API}/import", data=form, files=files)
    assert not (await shown(client, imported.json()["batch_id"]))["requires_release"], "it was sold before"


async def test_a_manager_releases_a_batch(client: httpx2.AsyncClient, operator: httpx2.AsyncClient) -> None:
    path = f"{API}/{await made(client, requires_release=True)}/release"
    assert (await operator.post(path, json={})).status_code == 403
    planned = await client.post(path, json={"at": "2031-01-31T08:00:00+07:00"})
    assert planned.json()["released_at"] == "2031-01-31T01:00:00.000000Z"
    key = {"Idempotency-Key": "release"}
    first, again = [await client.post(path, headers=key) for _ in range(2)]
    assert first.status_code == 200
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    refused = await client.post(path, json={"at": "2031-01-31T08:00:00+07:00"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:qrtrack:problem:already-released")


@pytest.mark.parametrize(
    "at", ["2031-01-31", "2031-01-31T08:00:00", "2031-13-31T08:00:00Z", "1999-01-31T08:00:00Z", 1927584000, "soon", ""]
)
async def test_a_time_has_one_spelling(client: httpx2.AsyncClient, plant: Plant, at: Any) -> None:
    batch = await plant.order(1, requires_release=True)
    refused = await client.post(f"{API}/{batch.batch_id}/release", json={"at": at})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/at", "bad_instant")
