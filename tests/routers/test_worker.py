import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from accurate import DATABASE, event
from plant import Plant
from qrtrack.domain import stopping
from qrtrack.domain.accurate.documents import Reading, read_event
from qrtrack.domain.errors import InvalidInput, Unavailable
from qrtrack.domain.identity import Caller
from qrtrack.repositories.queues import QUEUES
from qrtrack.runtime import Runtime
from qrtrack.schemas.worker import Budget
from qrtrack.services.accurate import processing
from qrtrack.services.accurate.intake import receive_events
from qrtrack.services.packing import preparation
from qrtrack.services.workers import report_process
from qrtrack.worker import draining
from qrtrack.worker.schedule import TASKS

JOB = "/api/manufacturer/reverse-job/worker"
DRAIN = "/api/worker/run"
NOTHING = {"success": True, "job_id": None, "status": None, "result": None, "error_message": None}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_cron_call_runs_the_next_job(cron: httpx2.AsyncClient, plant: Plant, method: str) -> None:
    job_id = await plant.submit(await plant.batch(20), ["SKA000001"])
    assert (await cron.request(method, JOB)).json() == {
        "success": True,
        "job_id": str(job_id),
        "status": "completed",
        "result": {
            "prepared": 19,
            "duplicates": 0,
            "invalid": 0,
            "total_available": 20,
            "excluded_count": 1,
            "excluded_already_unavailable": 0,
        },
        "error_message": None,
    }
    assert (await cron.request(method, JOB)).json() == NOTHING


async def test_concurrent_calls_run_each_job_once(cron: httpx2.AsyncClient, plant: Plant) -> None:
    jobs = {str(await plant.submit(await plant.batch(5))) for _ in range(3)}
    answers = [answer.json() for answer in await asyncio.gather(*(cron.post(JOB) for _ in range(8)))]
    ran = [answer["job_id"] for answer in answers if answer["job_id"]]
    assert sorted(ran) == sorted(jobs)


async def test_at_the_deadline_the_job_is_released_with_its_progress(
    cron: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "CHUNK", 2)
    job_id = await plant.submit(await plant.batch(6))
    prepare = preparation._prepare_chunk

    late = 0.0

    async def until_the_deadline(*arguments: Any) -> None:
        nonlocal late
        await prepare(*arguments)
        late = 3600

    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late))
    monkeypatch.setattr(preparation, "_prepare_chunk", until_the_deadline)
    first = (await cron.post(JOB, params={"max_seconds": 3600})).json()
    assert first == NOTHING | {"job_id": str(job_id), "status": "queued"}
    (row,) = await plant.sql("SELECT progress, prepared_count, attempts FROM qr_reverse_jobs")
    assert (row.progress, row.prepared_count, row.attempts) == (50, 2, 0)
    late = 0
    monkeypatch.setattr(preparation, "_prepare_chunk", prepare)
    assert (await cron.post(JOB)).json()["result"]["prepared"] == 6


async def fail(*_: Any) -> None:
    raise RuntimeError


async def refuse(*_: Any) -> None:
    raise InvalidInput("This can never be done.")


async def test_a_job_that_may_be_retried_is_queued_again(
    cron: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_prepare_chunk", fail)
    job_id = await plant.submit(await plant.batch(5))
    answer = await cron.post(JOB)
    assert answer.status_code == 200
    assert answer.json() == NOTHING | {
        "job_id": str(job_id),
        "status": "queued",
        "error_message": "internal error (RuntimeError); the service's log has the details",
    }


async def test_the_answer_for_a_failed_job_has_the_reason(
    cron: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_prepare_chunk", refuse)
    job_id = await plant.submit(await plant.batch(5))
    answer = await cron.post(JOB)
    assert answer.status_code == 200
    assert answer.json() == NOTHING | {
        "job_id": str(job_id),
        "status": "failed",
        "error_message": "This can never be done.",
    }


async def test_the_answer_for_a_job_cancelled_meanwhile_says_so(
    cron: httpx2.AsyncClient, client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = str(await plant.submit(await plant.batch(5)))
    prepare = preparation._prepare_chunk

    async def after_the_cancellation(*arguments: Any) -> None:
        cancelled = await client.post("/api/manufacturer/reverse-job/cancel", json={"job_id": job_id})
        assert cancelled.status_code == 200
        await prepare(*arguments)

    monkeypatch.setattr(preparation, "_prepare_chunk", after_the_cancellation)
    assert (await cron.post(JOB)).json() == NOTHING | {"job_id": job_id, "status": "cancelled"}


async def test_a_stopping_process_releases_the_job(
    cron: httpx2.AsyncClient, plant: Plant, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "CHUNK", 1)
    job_id = await plant.submit(await plant.batch(5))
    prepare = preparation._prepare_chunk

    async def while_stopping(*arguments: Any) -> None:
        await prepare(*arguments)
        runtime.stopping.set()
        await asyncio.sleep(0.05)

    monkeypatch.setattr(preparation, "_prepare_chunk", while_stopping)
    assert (await cron.post(JOB)).json() == NOTHING | {"job_id": str(job_id), "status": "queued"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_one_call_executes_all_queued_work_and_its_follow_ups(
    cron: httpx2.AsyncClient, client: httpx2.AsyncClient, plant: Plant, method: str
) -> None:
    made = await plant.batch(5)
    await plant.submit(made)
    await plant.order(5)
    none = {"completed": 0, "queued": 0, "retried": 0, "failed": 0, "lost": 0}
    answer = (await cron.request(method, DRAIN)).json()
    assert answer["success"] is True
    assert {kind: counts for kind, counts in answer["kinds"].items() if counts != none} == {
        "creating": none | {"completed": 1},
        "hashing": none | {"completed": 2},
        "reverse_job": none | {"completed": 1},
    }
    batches = (await client.get("/api/manufacturer/batches")).json()["batches"]
    assert [batch["status"] for batch in batches] == ["ready", "ready"]


async def test_a_drain_counts_retried_work(
    cron: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_prepare_chunk", fail)
    await plant.submit(await plant.batch(5))
    assert (await cron.post(DRAIN)).json()["kinds"]["reverse_job"]["retried"] == 1


async def test_a_drain_counts_each_event_and_retries_a_failed_group_one_by_one(
    cron: httpx2.AsyncClient, runtime: Runtime, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(payload: str, *rest: Any, **named: Any) -> Reading:
        if '"itemId": 3' in payload:
            raise ZeroDivisionError
        return read_event(payload, *rest, **named)

    async def send(*numbers: int) -> None:
        body = json.dumps([event("ITEM", {"itemId": number}) for number in numbers]).encode()
        owners = {DATABASE: caller.organisation_id}
        await receive_events(runtime.database, body, owners=owners, forward=False, wake=False)

    async def drain() -> list[dict[str, int]]:
        kinds = (await cron.post(DRAIN)).json()["kinds"]
        return [{end: count for end, count in kinds[f"webhook_{kind}"].items() if count} for kind in ("event", "retry")]

    monkeypatch.setattr(processing, "read_event", read)
    await send(1, 2)
    assert await drain() == [{"completed": 2}, {}]
    await send(3, 4, 5)
    assert await drain() == [{"retried": 3}, {"completed": 2, "retried": 1}]


async def test_a_failing_drain_waits_for_its_other_work(
    cron: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    async def run(_runtime: Runtime, handler: Any, _stop: Any) -> None:
        if handler.queue.kind == "creating":
            raise Unavailable("broken")
        await asyncio.sleep(0.1)
        ended.append(handler.queue.kind)

    monkeypatch.setattr(draining, "run_next", run)
    assert (await cron.post(DRAIN)).status_code == 503
    assert {"hashing", "reverse_job"} <= set(ended)


def test_a_call_without_a_budget_ends_before_platforms_cut_it() -> None:
    assert Budget().max_seconds == 50


async def test_an_invalid_budget_is_refused_with_its_pointer(cron: httpx2.AsyncClient) -> None:
    for seconds in ("0", "-1", "3601", "x", "nan", "inf", ""):
        for path in (JOB, DRAIN):
            answer = await cron.post(path, params={"max_seconds": seconds})
            assert answer.status_code == 422, seconds
            assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/max_seconds"]


async def test_the_health_of_the_work_tells_each_kind_and_the_living_workers(
    cron: httpx2.AsyncClient, plant: Plant, runtime: Runtime
) -> None:
    await plant.submit(await plant.batch(5))
    await report_process(runtime.database, runtime.activity, poll_seconds=1)
    before = (await cron.get("/api/worker/health")).json()
    assert before["kinds"]["reverse_job"] == {
        "queued": 1,
        "running": 0,
        "expired_leases": 0,
        "oldest_age_seconds": before["kinds"]["reverse_job"]["oldest_age_seconds"],
        "last_finished_at": None,
    }
    assert set(before["kinds"]) == {queue.kind for queue in QUEUES}
    assert [worker["worker_id"] for worker in before["workers"]] == [str(runtime.activity.process_id)]
    await cron.post(JOB)
    after = (await cron.get("/api/worker/health")).json()["kinds"]["reverse_job"]
    assert after["queued"] == 0
    assert after["last_finished_at"] is not None


async def test_the_health_of_the_work_tells_when_each_periodic_task_runs_next(
    cron: httpx2.AsyncClient, plant: Plant
) -> None:
    assert (await cron.get("/api/worker/health")).json()["tasks"] == []
    await cron.get(DRAIN)
    await plant.sql("UPDATE periodic_tasks SET run_at = '2026-11-22 07:00Z', error_message = 'no' WHERE name = 'prune'")
    told = {task["name"]: task for task in (await cron.get("/api/worker/health")).json()["tasks"]}
    assert set(told) == set(TASKS)
    assert told["prune"] == {
        "name": "prune",
        "status": "queued",
        "next_run_at": "2026-11-22T07:00:00.000000Z",
        "error_message": "no",
    }


async def test_a_cron_call_does_periodic_tasks_that_are_due(cron: httpx2.AsyncClient, plant: Plant) -> None:
    first = (await cron.get(DRAIN)).json()["kinds"]["periodic_task"]
    assert first["completed"] == 0
    await plant.sql("UPDATE periodic_tasks SET run_at = now() WHERE name IN ('prune', 'sweep_attempts')")
    second = (await cron.get(DRAIN)).json()["kinds"]["periodic_task"]
    assert second["completed"] == 2
    assert await plant.sql("SELECT 1 FROM periodic_tasks WHERE run_at <= now()") == []
