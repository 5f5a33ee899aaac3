"""Recounting over HTTP, as cron jobs call it."""

from uuid import uuid4

import httpx2
import pytest

from fanout import FanOut, done
from qrtrack.database import Database
from qrtrack.domain.identity import Caller

RECALCULATE = "/api/progress/recalculate"


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def pointers(answer: httpx2.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


@pytest.fixture
async def spoiled(database: Database, caller: Caller) -> FanOut:
    fan_out = await FanOut.announce(database, caller, 10)
    await fan_out.report(done(1, 2, 3))
    await fan_out.set("processed_records = 1, progress_percentage = 99")
    return fan_out


async def test_a_machine_recounts_silent_batches(cron: httpx2.AsyncClient, spoiled: FanOut) -> None:
    nothing = await cron.post(RECALCULATE)
    assert nothing.json() == {"success": True, "checked": 0, "repaired": 0, "failed": 0, "recounts": []}
    await spoiled.set("updated_at = now() - interval '6 minutes'")
    answer = (await cron.post(RECALCULATE)).json()
    assert (answer["checked"], answer["repaired"]) == (1, 1)
    (recount,) = answer["recounts"]
    rest = {"success_count": 3, "failed_records": 0, "status": "processing"}
    assert recount == {
        "kind": "sync_batch",
        "subject_id": str(spoiled.batch_id),
        "is_repair": True,
        "before": {"processed_records": 1, "progress_percentage": 99} | rest,
        "after": {"processed_records": 3, "progress_percentage": 30} | rest,
    }


async def test_a_machine_recounts_all_batches_or_one(cron: httpx2.AsyncClient, spoiled: FanOut) -> None:
    assert (await cron.post(RECALCULATE, params={"all": "true"})).json()["repaired"] == 1
    one = (await cron.post(RECALCULATE, params={"batch_id": str(spoiled.batch_id)})).json()
    assert (one["checked"], one["repaired"], one["recounts"][0]["is_repair"]) == (1, 0, False)
    unknown = await cron.post(RECALCULATE, params={"batch_id": str(uuid4())})
    assert (unknown.status_code, slug(unknown)) == (404, "not-found")
    both = await cron.post(RECALCULATE, params={"batch_id": str(spoiled.batch_id), "all": "true"})
    assert (both.status_code, pointers(both)) == (422, ["/query/all"])
    mistyped = await cron.post(RECALCULATE, params={"batchid": str(spoiled.batch_id)})
    assert (mistyped.status_code, pointers(mistyped)) == (422, ["/query/batchid"])
