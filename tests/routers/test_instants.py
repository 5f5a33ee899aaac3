"""Every instant that the API tells has one form: UTC with offset, six digits of a second."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from accurate import DATABASE, Accurate, event
from plant import Plant, ska
from process import settings_of
from qrtrack.domain.identity import Caller
from qrtrack.settings import Settings
from treasury import Treasury, rows

API = "/api/manufacturer"
FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
LIKE_AN_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:")


def texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text of an answer, with the name that it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, name)
    elif isinstance(value, str):
        yield name, value


def instants(*answers: httpx2.Response) -> list[str]:
    """Their names, once all of them were seen to have the one form."""
    found = [
        (name, value)
        for answer in answers
        for name, value in texts(answer.json())
        if name.endswith("_at") or LIKE_AN_INSTANT.match(value)
    ]
    assert [pair for pair in found if not FORM.fullmatch(pair[1])] == []
    return [name for name, _ in found]


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


async def test_instants_of_the_packing_line_have_one_form(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, units_per_case=2)
    await plant.pack(made)
    await plant.pack(made, 1)
    await plant.unlink(ska(1))
    batch = f"{API}/batches/{made.batch_id}"
    assert (await client.post(f"{batch}/close", json={"reason": "Run short"})).status_code == 200
    # A whole second must not lose its digits: every thousandth instant or so would sort before those around it.
    await plant.sql("UPDATE qr_batches SET created_at = date_trunc('second', created_at)")
    await plant.sql("UPDATE qr_master_codes SET packed_at = '2026-11-22T10:00:00+07' WHERE packed_at IS NOT NULL")
    [job] = (await client.get(f"{API}/reverse-job/jobs")).json()["jobs"]
    found = instants(
        *[
            await client.get(path)
            for path in (
                f"{API}/batches", batch, f"{batch}/cases", f"{API}/packs", f"{API}/trace/SKA000001",
                f"{API}/trace/{made.master_codes[1]}", f"{API}/reverse-job/jobs",
                *(f"{API}/reverse-job/{name}?job_id={job['job_id']}" for name in ("status", "logs", "prepared")),
            )
        ]
    )  # fmt: skip
    assert {"created_at", "closed_at", "packed_at", "undone_at", "occurred_at", "consumed_at", "finished_at"} <= set(
        found
    )


async def test_instants_of_a_refusal_have_one_form(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(2)
    await plant.pack(made)
    await plant.sql("UPDATE qr_master_codes SET packed_at = '2026-11-22T10:00:00+07'")
    order = {"batch_id": str(made.batch_id), "order_id": str(made.order_id), "master_code": made.master_codes[0]}
    refused = await client.post(f"{API}/link-to-master-from-queue", json=order)
    assert instants(refused) == ["packed_at"]
    assert refused.json()["master_code_info"]["packed_at"] == "2026-11-22T03:00:00.000000Z"


async def test_instants_of_a_replayed_answer_have_one_form(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = {"name": "Prices", "total_records": 1}
    key = {"Idempotency-Key": "announce"}
    first = await client.post("/api/progress/batches", json=batch, headers=key)
    again = await client.post("/api/progress/batches", json=batch, headers=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    path = first.json()["status_url"]
    await client.post(f"{path}/records", json={"records": [{"key": "a", "success": False, "error": "timeout"}]})
    assert {"started_at", "finished_at", "recorded_at"} <= set(
        instants(first, again, await client.get(path), await client.get(f"{path}/failures"))
    )


async def test_instants_of_accurate_and_of_the_workers_have_one_form(
    client: httpx2.AsyncClient, cron: httpx2.AsyncClient, accurate: Accurate
) -> None:
    (receipt,) = await accurate.send(event("ITEM", {"itemId": 1}, uuid="i-1"))
    await accurate.send(event("ITEM", {"itemId": 2}, uuid="i-1"))
    await cron.post("/api/worker/run?max_seconds=300")
    path = f"/api/accurate/events/{receipt.queue_id}"
    await client.post(f"{path}/replay", json={"reason": "once more"})
    found = instants(
        *[await client.get(one) for one in ("/api/accurate/events", path, "/api/accurate/documents")],
        await cron.get("/api/worker/health"),
        await client.get("/readyz"),
    )
    assert {"timestamp", "created_at", "last_at", "replayed_at", "next_run_at"} <= set(found)


async def test_instants_of_settlements_have_one_form(treasury: Treasury) -> None:
    attempt = (await treasury.dispatch("A", rows("A1", "A2"))).json()
    await treasury.call_back(attempt["log_id"], "A1")
    await treasury.call_back(attempt["log_id"], "ELSEWHERE")
    found = instants(await treasury.get("attempts"), await treasury.get(f"attempts/{attempt['log_id']}"))
    assert {"sent_at", "updated_at", "callback_at", "occurred_at"} <= set(found)
