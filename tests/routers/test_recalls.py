"""Recalls over HTTP."""

from typing import Any

import httpx2
import pytest

from plant import Plant

API = "/api/manufacturer"
TEXTS = {"reason": "Glass", "text_en": "Bring it back.", "text_id": "Kembalikan."}


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


async def test_a_recall_is_made_looked_at_and_lifted(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(3)
    order = {"batch_id": str(batch.batch_id), **TEXTS}
    key = {"Idempotency-Key": "glass"}
    made, replayed = [await client.post(f"{API}/recall", json=order, headers=key) for _ in range(2)]
    assert (made.status_code, made.json()) == (200, replayed.json())
    assert replayed.headers["Idempotency-Replayed"] == "true"
    recall = made.json()
    assert (recall["scope"], recall["unit_count"], recall["lifted_at"]) == ("batch", 3, None)
    refused = await client.post(f"{API}/recall", json=order)
    assert (refused.status_code, slug(refused)) == (409, "already-recalled")
    assert refused.json()["recall_id"] == recall["recall_id"]

    path = f"{API}/recalls/{recall['recall_id']}"
    seen = (await operator.get(path)).json()["recall"]
    assert (seen["by_status"]["generated"], seen["ranges"][0]["units"], seen["text_id"]) == (3, 3, "Kembalikan.")
    assert [row["recall_id"] for row in (await operator.get(f"{API}/recalls?in_force=true")).json()["recalls"]] == [
        recall["recall_id"]
    ]
    lift = {"recall_id": recall["recall_id"], "reason": "No glass"}
    assert (await client.post(f"{API}/recall/lift", json=lift)).json()["lifted_at"] is not None
    again = await client.post(f"{API}/recall/lift", json=lift)
    assert (again.status_code, slug(again)) == (409, "invalid-state")
    assert (await operator.get(f"{API}/recalls?in_force=true")).json()["recalls"] == []


async def test_pages_of_recalls_follow_each_other(client: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.batch(3)
    made = [
        (await client.post(f"{API}/recall", json={"codes": [f"SKA00000{n}"], **TEXTS})).json()["recall_id"]
        for n in (1, 2, 3)
    ]
    first = (await client.get(f"{API}/recalls?limit=2")).json()
    rest = (await client.get(f"{API}/recalls", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["recall_id"] for row in first["recalls"] + rest["recalls"]] == made[::-1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("changed", "pointer", "code"),
    [
        ({}, "/codes", "exactly_one_of"),
        ({"master_code": "X", "codes": ["SKA000001"]}, "/codes", "exactly_one_of"),
        ({"codes": []}, "/codes", "too_few"),
        ({"codes": ["SKA000001-SKA200000"]}, "/codes/0", "range_too_long"),
        ({"codes": ["SKA000009"]}, "/codes", "not_in_batch"),
        ({"codes": ["SKA000001"], "text_en": " "}, "/text_en", "too_short"),
        ({"codes": ["SKA000001"], "text_id": "x" * 1001}, "/text_id", "too_long"),
        ({"codes": ["SKA000001"], "reason": None}, "/reason", "wrong_type"),
        ({"codes": ["SKA000001"], "text_en": "a\u202eb"}, "/text_en", "control_characters"),
    ],
)
async def test_a_mistaken_recall_is_refused(
    client: httpx2.AsyncClient, plant: Plant, changed: dict[str, Any], pointer: str, code: str
) -> None:
    await plant.batch(3)
    refused = await client.post(f"{API}/recall", json=TEXTS | changed)
    assert refused.status_code == 422
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in refused.json()["errors"]]
    assert await plant.sql("SELECT 1 FROM recalls") == []


async def test_an_operator_recalls_nothing(operator: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.batch(3)
    for path, sent in (("recall", {"codes": ["SKA000001"], **TEXTS}), ("recall/lift", {"recall_id": "x"})):
        assert (await operator.post(f"{API}/{path}", json=sent)).status_code == 403
    assert await plant.sql("SELECT 1 FROM recalls") == []


async def test_a_dry_run_counts_what_would_be_recalled_and_changes_nothing(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number IN (1, 2, 11)")
    asked: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({"batch_id": str(batch.batch_id)}, (20, 3)),
        ({"master_code": batch.master_codes[0]}, (10, 2)),
        ({"codes": ["SKA000010-SKA000012", "SKA000011"]}, (3, 1)),
    ]
    for what, (units, with_consumers) in asked:
        order = what | TEXTS | {"dry_run": True}
        counted = await client.post(f"{API}/recall", json=order, headers={"Idempotency-Key": "count"})
        assert counted.json() == {
            "success": True, "dry_run": True, "unit_count": units, "with_consumers": with_consumers,
        }  # fmt: skip
        made = (await client.post(f"{API}/recall", json=what | TEXTS, headers={"Idempotency-Key": str(what)})).json()
        assert (made["unit_count"], made["dry_run"]) == (units, False)
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"batch_id": str(batch.batch_id)}, "already-recalled"),
        ({"master_code": batch.master_codes[0]}, "already-recalled"),
        ({"master_code": batch.master_codes[1]}, "invalid-state"),
        ({"codes": ["SKA000021"]}, "unknown-codes"),
    ]
    for what, refusal in refusals:
        refused = await client.post(f"{API}/recall", json=what | TEXTS | {"dry_run": True})
        assert slug(refused) == refusal
    assert len(await plant.sql("SELECT 1 FROM recalls")) == 3
