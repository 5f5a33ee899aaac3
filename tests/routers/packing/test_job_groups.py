"""Cancelling and retrying all reverse jobs that match a filter."""

import asyncio
from typing import Any

import httpx2
import pytest

from plant import MadeBatch, Plant, killed_at, ska
from qrtrack.domain.packing.selections import JobGroup
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.job_groups import JobGroupRepository
from qrtrack.services.packing import job_groups
from qrtrack.services.packing.job_groups import cancel_jobs, retry_jobs

API = "/api/manufacturer/reverse-job"


async def statuses(plant: Plant) -> list[str]:
    return [row.status for row in await plant.sql("SELECT status FROM qr_reverse_jobs ORDER BY id")]


async def fail(plant: Plant) -> None:
    await plant.sql(
        "UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'x', finished_at = now() WHERE status = 'queued'"
    )


async def half_prepared(plant: Plant, batch: MadeBatch) -> None:
    """One running job that has prepared three codes and excluded one."""
    job_id = await plant.submit(batch, ska(10))
    await plant.sql(
        "UPDATE qr_reverse_jobs SET status = 'running', lease_token = gen_random_uuid(), started_at = now(),"
        " lease_expires_at = now() + interval '1 hour', attempts = 1 WHERE id = :id",
        id=job_id,
    )
    await plant.sql(
        "INSERT INTO qr_prepared_codes (job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code)"
        " SELECT :job, batch_id, :order, manufacturer_org_id, sequence_number, code FROM qr_codes"
        " WHERE batch_id = :batch AND sequence_number <= 3",
        job=job_id, order=batch.order_id, batch=batch.batch_id,
    )  # fmt: skip


async def test_all_live_jobs_that_match_are_cancelled_with_what_they_prepared(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    one, other = [await plant.batch(10, serial_prefix=prefix) for prefix in ("SKA", "OTH")]
    await half_prepared(plant, one)
    for batch in (one, other, other):
        await plant.submit(batch)
    body = {"batch_id": str(one.batch_id)}
    counted = await client.post(f"{API}/cancel-matching", json=body | {"dry_run": True})
    assert counted.json() == {"success": True, "dry_run": True, "matching": 2, "more": False}
    assert await statuses(plant) == ["running", "queued", "queued", "queued"]
    answer = await client.post(f"{API}/cancel-matching", json=body)
    assert answer.json() == {"success": True, "dry_run": False, "cancelled": 2, "withdrawn": 3}
    assert await statuses(plant) == ["cancelled", "cancelled", "queued", "queued"]
    assert await plant.queue(one) == []
    assert await plant.sql("SELECT * FROM qr_excluded_codes") == []
    again = await client.post(f"{API}/cancel-matching", json=body)
    assert again.json() == {"success": True, "dry_run": False, "cancelled": 0, "withdrawn": 0}


async def test_a_filter_by_state_leaves_the_other_jobs_alone(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(10)
    await half_prepared(plant, batch)
    await plant.submit(batch)
    assert (await client.post(f"{API}/cancel-matching", json={"status": "queued"})).json()["cancelled"] == 1
    assert await statuses(plant) == ["running", "cancelled"]
    assert (await client.post(f"{API}/cancel-matching", json={"status": "failed"})).status_code == 422


async def test_failed_jobs_are_retried_unless_their_batch_is_closed(client: httpx2.AsyncClient, plant: Plant) -> None:
    batches = [await plant.batch(10, serial_prefix=prefix) for prefix in ("SKA", "SKB")]
    for batch in batches:
        await plant.submit(batch)
    await fail(plant)
    await client.post(f"/api/manufacturer/batches/{batches[1].batch_id}/close", json={"reason": "run short"})
    counted = await client.post(f"{API}/retry-matching", json={"dry_run": True})
    assert (counted.json()["matching"], await statuses(plant)) == (1, ["failed", "failed"])
    assert (await client.post(f"{API}/retry-matching", json={})).json()["retried"] == 1
    assert await statuses(plant) == ["queued", "failed"]
    await plant.work("reverse_job")
    assert await statuses(plant) == ["completed", "failed"]


async def test_each_job_has_its_log_line_and_its_trace_event(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(10)
    jobs = [str(await plant.submit(batch)) for _ in range(2)]
    await client.post(f"{API}/cancel-matching", json={})
    for job_id in jobs:
        logs = (await client.get(f"{API}/logs", params={"job_id": job_id})).json()["logs"]
        assert logs[-1]["message"] == "Cancelled; 0 prepared codes left the queue."
    events = await plant.sql(
        "SELECT job_id, actor, details FROM trace_events WHERE action = 'reverse_job.cancelled' ORDER BY job_id"
    )
    assert [(str(event.job_id), event.actor, event.details) for event in events] == [
        (job_id, plant.caller.user_id, {"withdrawn": 0}) for job_id in jobs
    ]


async def test_more_jobs_than_a_chunk_are_changed_and_later_ones_are_not(
    client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await plant.batch(10)
    for _ in range(5):
        await plant.submit(batch)
    monkeypatch.setattr(job_groups, "CHUNK", 2)
    lock_batches = Repositories.lock_batches

    async def submitted_meanwhile(self: Repositories, batch_ids: Any) -> None:
        if len(await statuses(plant)) == 5:
            await plant.submit(batch)
        await lock_batches(self, batch_ids)

    monkeypatch.setattr(Repositories, "lock_batches", submitted_meanwhile)
    key = {"Idempotency-Key": "all of them"}
    answer = await client.post(f"{API}/cancel-matching", json={}, headers=key)
    assert answer.json()["cancelled"] == 5
    assert await statuses(plant) == ["cancelled"] * 5 + ["queued"]
    repeated = await client.post(f"{API}/cancel-matching", json={}, headers=key)
    assert (repeated.json(), repeated.headers["Idempotency-Replayed"]) == (answer.json(), "true")
    assert (await statuses(plant))[-1] == "queued"


async def test_two_who_cancel_the_same_jobs_at_once_count_each_job_once(plant: Plant) -> None:
    batches = [await plant.batch(10, serial_prefix=prefix) for prefix in ("SKA", "SKB", "SKC")]
    for batch in (*batches, *reversed(batches)):
        await plant.submit(batch)
    group = JobGroup(["queued", "running"])
    cancelling = [cancel_jobs(plant.runtime.database, caller=plant.caller, group=group) for _ in range(4)]
    submitting = [plant.submit(batch) for batch in batches]
    done, _ = await asyncio.gather(asyncio.gather(*cancelling), asyncio.gather(*submitting))
    counted = sum(one.cancelled for one in done)
    assert (await statuses(plant)).count("cancelled") == counted
    assert len(await plant.sql("SELECT * FROM trace_events WHERE action = 'reverse_job.cancelled'")) == counted


async def test_a_kill_inside_a_chunk_leaves_its_jobs_as_they_were(plant: Plant) -> None:
    batch = await plant.batch(10)
    await half_prepared(plant, batch)
    killed = killed_at(JobGroupRepository, "withdraw", call=1, moment="after")
    with killed, pytest.raises(Exception, match=r".+"):
        await cancel_jobs(plant.runtime.database, caller=plant.caller, group=JobGroup(["running"]))
    assert await statuses(plant) == ["running"]
    assert await plant.queue(batch) == [1, 2, 3]


@pytest.mark.parametrize("path", ["cancel-matching", "retry-matching"])
async def test_after_a_kill_between_two_chunks_the_same_key_goes_on_and_counts_all(
    client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    batch = await plant.batch(10)
    for _ in range(5):
        await plant.submit(batch)
    if path == "retry-matching":
        await fail(plant)
    monkeypatch.setattr(job_groups, "CHUNK", 2)
    key = {"Idempotency-Key": "all of them"}
    with killed_at(JobGroupRepository, "find", call=2, moment="before"):
        assert (await client.post(f"{API}/{path}", json={}, headers=key)).status_code >= 500
    others = {"batch_id": str(batch.batch_id)}
    assert (await client.post(f"{API}/{path}", json=others, headers=key)).status_code == 422
    answer = await client.post(f"{API}/{path}", json={}, headers=key)
    counted = {"retried": 5} if path == "retry-matching" else {"cancelled": 5, "withdrawn": 0}
    assert answer.json() == {"success": True, "dry_run": False, **counted}
    assert "Idempotency-Replayed" not in answer.headers
    assert set(await statuses(plant)) == {"queued" if path == "retry-matching" else "cancelled"}
    repeated = await client.post(f"{API}/{path}", json={}, headers=key)
    assert (repeated.json(), repeated.headers["Idempotency-Replayed"]) == (answer.json(), "true")


async def test_one_request_that_is_sent_many_times_at_once_counts_all_jobs(
    client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await plant.batch(10)
    for _ in range(7):
        await plant.submit(batch)
    monkeypatch.setattr(job_groups, "CHUNK", 1)
    key = {"Idempotency-Key": "all of them"}
    answers = await asyncio.gather(*(client.post(f"{API}/cancel-matching", json={}, headers=key) for _ in range(4)))
    answers.append(await client.post(f"{API}/cancel-matching", json={}, headers=key))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.json()["cancelled"] for answer in answers if answer.is_success} == {7}
    assert len(await plant.sql("SELECT * FROM trace_events WHERE action = 'reverse_job.cancelled'")) == 7


async def test_two_who_retry_the_same_jobs_at_once_queue_each_job_once(plant: Plant) -> None:
    batches = [await plant.batch(10, serial_prefix=prefix) for prefix in ("SKA", "SKB", "SKC")]
    for batch in (*batches, *reversed(batches)):
        await plant.submit(batch)
    await fail(plant)
    group = JobGroup(["failed"])
    done = await asyncio.gather(
        *(retry_jobs(plant.runtime.database, caller=plant.caller, group=group) for _ in range(4))
    )
    assert sum(one.retried for one in done) == 6
    assert await statuses(plant) == ["queued"] * 6
    assert len(await plant.sql("SELECT * FROM trace_events WHERE action = 'reverse_job.retried'")) == 6


async def test_a_kill_while_retrying_leaves_the_jobs_failed(plant: Plant) -> None:
    await plant.submit(await plant.batch(10))
    await fail(plant)
    killed = killed_at(JobGroupRepository, "record", call=1, moment="before")
    with killed as kill, pytest.raises(Exception, match=r".+"):
        await retry_jobs(plant.runtime.database, caller=plant.caller, group=JobGroup(["failed"]))
    assert kill.done
    assert await statuses(plant) == ["failed"]


async def test_another_organisation_and_an_operator_change_nothing(
    operator: httpx2.AsyncClient, stranger: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(10)
    await plant.submit(batch)
    for path in ("cancel-matching", "retry-matching"):
        assert (await operator.post(f"{API}/{path}", json={})).status_code == 403
    assert (await stranger.post(f"{API}/cancel-matching", json={})).json()["cancelled"] == 0
    assert await statuses(plant) == ["queued"]
