"""One packing story and one dispatch over HTTP, with exact numbers: what every environment must be good for."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2

from accurate import event
from environments.program import Installation, Site
from qrtrack.sandbox import Sandbox, Scripted
from treasury import rows

PRODUCT = "金 Gold – 1 g"
BANK_SAYS = "Transaksi diterima – terima kasih"
TAKEN = Scripted(
    201, json.dumps({"responseCode": "00", "responseMessage": BANK_SAYS}, ensure_ascii=False).encode(), taken=True
)
EXCLUDED = ["SKA000010", "SKA000020"]
MANUFACTURER = "/api/manufacturer"

EXPECTED: Mapping[str, Any] = {
    "codes": ("SKA000001", "SKA000200"),
    "product": PRODUCT,
    "job": {"prepared": 198, "duplicates": 0, "invalid": 0, "total_available": 200, "excluded_count": 2},
    "case 1": (200, "SKA000001", "SKA000052", 50),
    "double scan": (409, "urn:qrtrack:problem:case-already-packed"),
    "case 3, scanned by mistake": (200, "SKA000053", "SKA000102", 50),
    "undone": 50,
    "case 2": (200, "SKA000053", "SKA000102", 50),
    "case 3": (200, "SKA000103", "SKA000152", 50),
    "case 4": (200, "SKA000153", "SKA000200", 48),
    "sheet": {"generated": 200, "in_case": 198, "prepared": 0, "excluded": 2, "remaining": 0, "differences": []},
    "sheet of another organisation": 404,
    "batches of another organisation": [],
    "webhooks": (200, 2, 1),
    "webhooks again": (200, 0, 3),
    "the same ids": True,
    "events": ["done", "done"],
    "dispatch": (200, 1),
    "dispatch again": (409, "urn:qrtrack:problem:already-dispatched"),
    "the bank's words": BANK_SAYS,
    "called back": ["ok", "ok"],
    "paid": {"REF1": 1, "REF2": 1},
}


async def tell_story(installation: Installation, **changes: str) -> Site:
    """Starts the server and goes through all of it; raises with each number that differs."""
    async with bank() as gateway, installation.serving(**(bank_settings(installation, gateway) | changes)) as site:
        seen: dict[str, Any] = {}
        try:
            await _pack(site.client, seen)
            await _look_as_a_stranger(installation, site.client, seen)
            await _push_webhooks(site.client, seen)
            await _dispatch(site.client, gateway, seen)
        except (AssertionError, KeyError, TypeError, ValueError, httpx2.HTTPError) as error:
            raise AssertionError(f"{error!r} after {list(seen)}:\n{site.log()[-4000:]}") from error
    compare(seen)
    return site


def compare(seen: Mapping[str, Any]) -> None:
    """An exact number that differs is told by its name."""
    found = [
        f"{name}: expected {expected!r}, seen {seen.get(name)!r}"
        for name, expected in EXPECTED.items()
        if seen.get(name) != expected
    ]
    assert not found, "\n".join(found)


@asynccontextmanager
async def bank(*, calls_back: bool = True) -> AsyncIterator[Sandbox]:
    """The sandbox gateway, which answers with words of its language and calls back at once."""
    gateway = Sandbox(callback_seconds=0.1 if calls_back else None, standing=TAKEN)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


def bank_settings(installation: Installation, gateway: Sandbox) -> dict[str, str]:
    return {
        "AKSELGATE_BASE_URL": gateway.address,
        "AKSELGATE_USERNAME": "plant",
        "AKSELGATE_PASSWORD": "sandbox-password-of-the-tests",
        "AKSELGATE_ORGANISATION": str(installation.organisation),
        "AKSELGATE_AMOUNT_SCALE": "0",
        "AKSELGATE_DEADLINE_SECONDS": "10",
    }


# The packing line


async def create_batch(client: httpx2.AsyncClient, quantity: int = 200, units_per_case: int = 50) -> dict[str, Any]:
    """A batch that may be packed, with `order_id` and the `master_codes` of its cases."""
    order = {"order_id": str(uuid4()), "product_name": PRODUCT, "quantity": quantity, "serial_prefix": "SKA"}
    answer = await client.post(f"{MANUFACTURER}/batches", json=order | {"units_per_case": units_per_case})
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json() | {"order_id": order["order_id"]}

    async def packable() -> Any:
        batch = (await client.get(f"{MANUFACTURER}/batches/{made['batch_id']}")).json()["batch"]
        return batch if batch["status"] in {"hashing", "ready"} else None

    made["batch"] = await until(packable)
    cases = (await client.get(f"{MANUFACTURER}/batches/{made['batch_id']}/cases")).json()["cases"]
    made["master_codes"] = [case["master_code"] for case in cases]
    return made


async def prepare(client: httpx2.AsyncClient, batch: Mapping[str, Any], exclude: Sequence[str] = ()) -> dict[str, Any]:
    """Everything but the excluded codes waits in the queue; the job's summary."""
    order = {"batch_id": batch["batch_id"], "order_id": batch["order_id"], "exclude_codes": list(exclude)}
    answer = await client.post(f"{MANUFACTURER}/reverse-job/submit", json=order)
    assert answer.status_code == 200, answer.text
    query = {"job_id": answer.json()["job_id"], "wait": 5}

    async def completed() -> Any:
        job = (await client.get(f"{MANUFACTURER}/reverse-job/status", params=query)).json()
        return job["result_summary"] if job["status"] == "completed" else None

    summary: dict[str, Any] = await until(completed)
    return summary


async def pack(client: httpx2.AsyncClient, batch: Mapping[str, Any], case: int, **asked: Any) -> httpx2.Response:
    order = {
        "batch_id": batch["batch_id"],
        "order_id": batch["order_id"],
        "master_code": batch["master_codes"][case - 1],
    }
    return await client.post(f"{MANUFACTURER}/link-to-master-from-queue", json=order | asked)


async def _pack(client: httpx2.AsyncClient, seen: dict[str, Any]) -> None:
    batch = await create_batch(client)
    seen["codes"], seen["product"] = (batch["first_code"], batch["last_code"]), batch["batch"]["product_name"]
    seen["job"] = _of(EXPECTED["job"], await prepare(client, batch, EXCLUDED))
    seen["case 1"] = _box(await pack(client, batch, 1))
    seen["double scan"] = _refusal(await pack(client, batch, 1))
    seen["case 3, scanned by mistake"] = _box(await pack(client, batch, 3))
    undo = {"master_code": batch["master_codes"][2], "reason": "The wrong case – undone"}
    seen["undone"] = (await client.post(f"{MANUFACTURER}/unlink-from-master", json=undo)).json()["unlinked_count"]
    seen["case 2"] = _box(await pack(client, batch, 2))
    seen["case 3"] = _box(await pack(client, batch, 3))
    seen["case 4"] = _box(await pack(client, batch, 4, allow_partial=True))
    sheet = await client.get(f"{MANUFACTURER}/batches/{batch['batch_id']}/reconciliation")
    seen["sheet"], seen["batch"] = _of(EXPECTED["sheet"], sheet.json()), batch["batch_id"]


async def _look_as_a_stranger(installation: Installation, client: httpx2.AsyncClient, seen: dict[str, Any]) -> None:
    """Another organisation's administrator at the same server."""
    async with installation.client(str(client.base_url), uuid4()) as stranger:
        sheet = await stranger.get(f"{MANUFACTURER}/batches/{seen['batch']}/reconciliation")
        batches = await stranger.get(f"{MANUFACTURER}/batches")
    seen["sheet of another organisation"] = sheet.status_code
    seen["batches of another organisation"] = batches.json()["batches"]


# Accurate


async def _push_webhooks(client: httpx2.AsyncClient, seen: dict[str, Any]) -> None:
    """One array with the same event twice in it, then all of it once more."""
    first, second = event(note="金 – é", uuid=str(uuid4())), event(uuid=str(uuid4()))
    answers = [await client.post("/webhook/accurate", json=[first, second, first]) for _ in range(2)]
    for name, answer in zip(("webhooks", "webhooks again"), answers, strict=True):
        seen[name] = (answer.status_code, answer.json()["queued"], answer.json()["duplicates"])
    seen["the same ids"] = answers[0].json()["queue_ids"] == answers[1].json()["queue_ids"]

    async def processed() -> Any:
        events = (await client.get("/api/accurate/events")).json()["events"]
        statuses = [event["status"] for event in events]
        return statuses if set(statuses) == {"done"} else None

    seen["events"] = await until(processed)


# The bank


async def dispatch(client: httpx2.AsyncClient, kd_settle: str = "STL1", name: str = "REF") -> httpx2.Response:
    """Two payments. A reference is sent once in the whole database, whoever sends it."""
    transactions = rows(f"{name}1", f"{name}2")
    order = {"transaction_type": "CA_ESCROW", "kd_settle": kd_settle, "transactions": transactions}
    return await client.post("/api/akselgate/dispatch", json=order)


async def _dispatch(client: httpx2.AsyncClient, gateway: Sandbox, seen: dict[str, Any]) -> None:
    answer = await dispatch(client)
    seen["dispatch"] = (answer.status_code, answer.json()["attempt_number"])
    seen["dispatch again"] = _refusal(await dispatch(client))

    async def called_back() -> Any:
        attempt = (await client.get(f"/api/akselgate/attempts/{answer.json()['log_id']}")).json()
        states = [row["callback_state"] for row in attempt["rows"]]
        return (attempt["attempt"]["message"], states) if states == EXPECTED["called back"] else None

    seen["the bank's words"], seen["called back"] = await until(called_back)
    seen["paid"] = dict(gateway.taken)


# Small words


async def until(condition: Any, seconds: float = 30) -> Any:
    """What the condition returns, once it is something."""
    over = time.monotonic() + seconds
    while (found := await condition()) is None:
        assert time.monotonic() < over, f"{condition.__name__} did not happen within {seconds} s"
        await asyncio.sleep(0.05)
    return found


def _box(answer: httpx2.Response) -> tuple[Any, ...]:
    box = answer.json().get("master_code_info") or {}
    return (answer.status_code, box.get("first_code"), box.get("last_code"), box.get("actual_units"))


def _refusal(answer: httpx2.Response) -> tuple[int, str]:
    return (answer.status_code, answer.json().get("type"))


def _of(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are compared: answers may have more."""
    return {name: found.get(name) for name in expected}
