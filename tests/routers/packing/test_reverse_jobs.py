import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from plant import MadeBatch, Plant
from qrtrack.domain.identity import Caller
from qrtrack.routers import waiting
from qrtrack.runtime import Runtime
from qrtrack.schemas.base import LONGEST_WAIT
from ticking import HANG_SECONDS

API = "/api/manufacturer/reverse-job"
SignIn = Callable[[Caller], httpx2.AsyncClient]


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def order(batch: MadeBatch, *exclude: str, **more: Any) -> dict[str, Any]:
    named = {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id)}
    return {**named, "exclude_codes": list(exclude), **more}


async def test_a_job_is_submitted_as_the_front_end_does_it(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(20)
    whose = {"manufacturer_org_id": str(plant.caller.organisation_id)}
    answer = await operator.post(f"{API}/submit", json=order(made, "SKA000007", "ska000013 SKA000007", **whose))
    submitted = answer.json()
    assert answer.status_code == 200
    assert submitted == {
        "success": True,
        "dry_run": False,
        "job_id": submitted["job_id"],
        "status": "queued",
        "exclude_count": 2,
        "excluded_already_unavailable": 0,
        "progress": 0,
        "result_summary": None,
        "error_message": None,
    }


async def test_a_range_and_a_scanned_url_are_excluded_too(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(20)
    excluded = ["SKA000001-SKA000003", f"https://x.example/q/{made.uniq_code}/SKA000009"]
    assert (await client.post(f"{API}/submit", json=order(made, *excluded))).json()["exclude_count"] == 4


async def test_a_mistyped_exclusion_is_refused_and_named(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(20)
    answer = await client.post(f"{API}/submit", json=order(made, "SKA000001", "SKB000001", "SKA000021"))
    assert (answer.status_code, slug(answer)) == (422, "unknown-exclude-codes")
    assert answer.json()["codes"] == ["SKB000001", "SKA000021"]


@pytest.mark.parametrize(("field", "value"), [("priority", 10), ("priority", -1), ("wait", 30.5), ("wait", -1)])
async def test_a_priority_or_a_wait_out_of_bounds_is_refused_at_its_field(
    client: httpx2.AsyncClient, plant: Plant, field: str, value: float
) -> None:
    made = await plant.batch(2)
    answer = await client.post(f"{API}/submit", json=order(made, **{field: value}))
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [f"/{field}"])
    assert (await client.post(f"{API}/submit", json=order(made, priority=9, wait=0.1))).status_code == 200


async def test_the_list_of_exclusions_is_required(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    body = order(made)
    del body["exclude_codes"]
    answer = await client.post(f"{API}/submit", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/exclude_codes"]


async def test_the_qr_of_the_batch_excludes_no_unit(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    answer = await client.post(f"{API}/submit", json=order(made, f"https://x.example/q/{made.uniq_code}"))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/exclude_codes/0"
    assert "is the QR of the whole batch and names no unit" in error["detail"]


async def test_a_hundred_thousand_exclusions_are_parsed_in_a_thread(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    answer = await client.post(f"{API}/submit", json=order(made, "SKA000001-SKA100000"))
    assert (answer.status_code, slug(answer)) == (422, "unknown-exclude-codes")
    refusal = answer.json()
    assert (refusal["codes"], refusal["unknown_count"]) == (["SKA000006-SKA100000"], 99_995)
    assert (len(refusal["errors"]), refusal["error_count"]) == (1, 99_995)
    assert len(answer.content) < 1000


async def test_a_dry_run_counts_and_changes_nothing(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(20)
    before = await plant.sql("SELECT count(*) FROM trace_events")
    answer = await client.post(f"{API}/submit", json=order(made, "SKA000001", "SKB000001", dry_run=True))
    assert answer.json() == {
        "success": True,
        "dry_run": True,
        "exclude_count": 2,
        "excluded_already_unavailable": 0,
        "total_available": 20,
        "excluded_count": 1,
        "duplicates": 0,
        "would_prepare": 19,
        "unknown_codes": ["SKB000001"],
        "unknown_count": 1,
        "unavailable_codes": [],
    }
    assert (await client.get(f"{API}/jobs")).json()["jobs"] == []
    assert await plant.sql("SELECT count(*) FROM trace_events") == before


async def test_a_job_with_a_variant_prepares_only_this_variant(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(variants=[("10g", 3), ("20g", 4)])
    await client.post(f"{API}/submit", json=order(made, variant="20g"))
    await plant.work("reverse_job")
    (job,) = (await client.get(f"{API}/jobs")).json()["jobs"]
    assert (job["variant"], job["prepared_count"]) == ("20g", 4)
    unknown = await client.post(f"{API}/submit", json=order(made, variant="30g"))
    assert [error["pointer"] for error in unknown.json()["errors"]] == ["/variant"]


async def test_a_completed_job_adds_up(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(20)
    job_id = await plant.submit(made, ["SKA000007", "SKA000013"])
    waiting = (await operator.get(f"{API}/status", params={"job_id": str(job_id)})).json()
    await plant.work("reverse_job")
    done = (await operator.get(f"{API}/status", params={"job_id": str(job_id)})).json()
    assert [waiting[name] for name in ("status", "progress", "queue_position")] == ["queued", 0, 1]
    expected = {
        "success": True,
        "job_id": str(job_id),
        "status": "completed",
        "progress": 100,
        "prepared_count": 18,
        "remaining_to_prepare": 0,
        "total_available_in_batch": 20,
        "result_summary": {
            "prepared": 18,
            "duplicates": 0,
            "invalid": 0,
            "total_available": 20,
            "excluded_count": 2,
            "excluded_already_unavailable": 0,
        },
        "error_message": None,
        "queue_position": None,
        "eta_seconds": None,
        "attempts": 1,
    }
    assert {name: done[name] for name in expected} == expected
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]


async def test_a_running_job_says_how_long_it_will_take(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(20))
    await plant.sql(
        "UPDATE qr_reverse_jobs SET status = 'running', lease_token = gen_random_uuid(), lease_expires_at = now(),"
        " counted_at = now() - interval '10 s', updated_at = now(), prepared_count = 4, excluded_count = 1,"
        " total_available_in_batch = 20, remaining_to_prepare = 15, progress = 45"
    )
    job = (await client.get(f"{API}/status", params={"job_id": str(job_id)})).json()
    assert (job["status"], job["progress"], job["eta_seconds"]) == ("running", 45, 30)


async def later(seconds: float, act: Callable[[], Any]) -> None:
    await asyncio.sleep(seconds)
    result = act()
    if asyncio.iscoroutine(result):
        await result


async def timed(request: Any) -> tuple[httpx2.Response, float]:
    began = time.monotonic()
    answer = await request
    return answer, time.monotonic() - began


async def test_a_long_poll_answers_as_soon_as_something_changed(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(5))
    poll = timed(client.get(f"{API}/status", params={"job_id": str(job_id), "wait": LONGEST_WAIT}))
    (answer, seconds), _ = await asyncio.gather(poll, later(0.3, lambda: plant.work("reverse_job")))
    assert answer.json()["status"] in {"running", "completed"}
    assert 0.2 < seconds < LONGEST_WAIT


async def test_a_long_poll_without_a_change_ends_in_time(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(5))
    answer, seconds = await timed(client.get(f"{API}/status", params={"job_id": str(job_id), "wait": 0.4}))
    assert answer.json()["status"] == "queued"
    assert seconds >= 0.4


async def test_a_long_poll_of_an_ended_job_answers_at_once(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(5))
    await plant.work("reverse_job")
    _, seconds = await timed(client.get(f"{API}/status", params={"job_id": str(job_id), "wait": LONGEST_WAIT}))
    assert seconds < LONGEST_WAIT


async def test_a_heartbeat_is_no_change(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(5))
    poll = timed(client.get(f"{API}/status", params={"job_id": str(job_id), "wait": 0.8}))
    beat = later(0.1, lambda: plant.sql("UPDATE qr_reverse_jobs SET updated_at = clock_timestamp()"))
    (_, seconds), _ = await asyncio.gather(poll, beat)
    assert seconds >= 0.8


async def test_a_process_that_stops_answers_its_pollers(
    client: httpx2.AsyncClient, plant: Plant, runtime: Runtime
) -> None:
    made = await plant.batch(5)
    job_id = await plant.submit(made)
    polls = [
        timed(client.get(f"{API}/status", params={"job_id": str(job_id), "wait": LONGEST_WAIT})),
        timed(client.post(f"{API}/submit", json=order(made, wait=LONGEST_WAIT))),
    ]
    stopping = asyncio.create_task(later(0.3, runtime.stopping.set))
    answers = await asyncio.gather(*polls)
    await stopping
    assert [answer.json()["status"] for answer, _ in answers] == ["queued", "queued"]
    assert all(seconds < LONGEST_WAIT for _, seconds in answers)


async def test_waiting_pollers_hold_no_connection(
    sign_in: SignIn, plant: Plant, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "pause_after", lambda _waited: 60)
    job_id = await plant.submit(await plant.batch(5))
    polls = [
        asyncio.create_task(
            sign_in(replace(plant.caller, user_id=f"user {number}")).get(
                f"{API}/status", params={"job_id": str(job_id), "wait": LONGEST_WAIT}
            )
        )
        for number in range(runtime.settings.database_pool_size + 5)
    ]
    await asyncio.sleep(1)
    async with asyncio.timeout(HANG_SECONDS):
        while not runtime.database.engine.pool.status().endswith("Current Checked out connections: 0"):
            await asyncio.sleep(0.05)
    assert not any(poll.done() for poll in polls)
    runtime.stopping.set()
    assert {answer.status_code for answer in await asyncio.gather(*polls)} == {200}


async def test_a_submission_that_waits_answers_with_the_result(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(20)
    submission = client.post(f"{API}/submit", json=order(made, "SKA000001", wait=LONGEST_WAIT))
    answer, _ = await asyncio.gather(submission, later(0.3, lambda: plant.work("reverse_job")))
    done = answer.json()
    assert (done["status"], done["progress"], done["exclude_count"]) == ("completed", 100, 1)
    assert done["result_summary"]["prepared"] == 19


async def test_a_submission_that_waits_in_vain_answers_with_the_state_of_the_job(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.batch(5)
    answer = await client.post(f"{API}/submit", json=order(made, wait=0.3))
    assert (answer.status_code, answer.json()["status"], answer.json()["result_summary"]) == (200, "queued", None)


async def test_a_repeated_submission_that_waited_is_answered_with_the_job_as_it_was_queued(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.batch(5)
    request: dict[str, Any] = {"json": order(made, wait=0.3), "headers": {"Idempotency-Key": "k"}}
    first, second = [await client.post(f"{API}/submit", **request) for _ in range(2)]
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json()["job_id"] == first.json()["job_id"]


async def test_jobs_are_listed_newest_first(client: httpx2.AsyncClient, plant: Plant) -> None:
    one, other = await plant.batch(5), await plant.batch(5)
    ids = [str(await plant.submit(made)) for made in (one, one, other)]
    first = (await client.get(f"{API}/jobs", params={"limit": 2})).json()
    rest = (await client.get(f"{API}/jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [job["job_id"] for page in (first, rest) for job in page["jobs"]] == ids[::-1]
    of_batch = (await client.get(f"{API}/jobs", params={"batch_id": str(other.batch_id), "status": "queued"})).json()
    assert [job["job_id"] for job in of_batch["jobs"]] == ids[2:]


async def test_the_log_of_a_job_names_its_steps(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(5))
    await plant.work("reverse_job")
    query: dict[str, Any] = {"job_id": str(job_id), "limit": 2}
    first = (await client.get(f"{API}/logs", params=query)).json()
    rest = (await client.get(f"{API}/logs", params=query | {"cursor": first["next_cursor"]})).json()
    lines = [line["message"].partition(" ")[0].strip(":") for page in (first, rest) for line in page["logs"]]
    assert lines == ["Submitted", "Counted", "Completed"]
    assert set(first["logs"][0]) == {"level", "message", "created_at"}


async def test_prepared_codes_are_listed_in_the_order_of_the_queue(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(4, units_per_case=2)
    job_id = await plant.submit(made)
    await plant.work("reverse_job")
    await plant.pack(made)
    query: dict[str, Any] = {"job_id": str(job_id), "limit": 3}
    first = (await client.get(f"{API}/prepared", params=query)).json()
    rest = (await client.get(f"{API}/prepared", params=query | {"cursor": first["next_cursor"]})).json()
    rows = first["prepared_codes"] + rest["prepared_codes"]
    assert [(row["sequence_number"], row["status"]) for row in rows] == [
        (1, "consumed"),
        (2, "consumed"),
        (3, "prepared"),
        (4, "prepared"),
    ]
    waiting = (await client.get(f"{API}/prepared", params=query | {"status": "prepared"})).json()["prepared_codes"]
    assert [row["code"] for row in waiting] == ["SKA000003", "SKA000004"]


async def test_a_cancelled_job_takes_its_codes_out_of_the_queue(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = str(await plant.submit(await plant.batch(5)))
    cancelled = await client.post(f"{API}/cancel", json={"job_id": job_id})
    assert cancelled.json() == {"success": True, "job_id": job_id, "status": "cancelled", "withdrawn": 0}
    again = await client.post(f"{API}/cancel", json={"job_id": job_id})
    assert (again.status_code, slug(again)) == (409, "invalid-state")


async def test_only_a_failed_job_is_retried(client: httpx2.AsyncClient, plant: Plant) -> None:
    job_id = str(await plant.submit(await plant.batch(5)))
    sound = await client.post(f"{API}/retry", json={"job_id": job_id})
    await plant.sql("UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'x', finished_at = now()")
    failed = await client.post(f"{API}/retry", json={"job_id": job_id})
    assert (sound.status_code, slug(sound)) == (409, "invalid-state")
    assert failed.json() == {"success": True, "job_id": job_id, "status": "queued"}


@pytest.mark.parametrize("closed", [False, True])
async def test_a_batch_that_cannot_be_packed_takes_no_job(
    client: httpx2.AsyncClient, plant: Plant, *, closed: bool
) -> None:
    made = await plant.batch(5) if closed else await plant.order(5)
    if closed:
        await client.post(f"/api/manufacturer/batches/{made.batch_id}/close", json={"reason": "over"})
    body = {"batch_id": str(made.batch_id), "order_id": str(plant.order_id), "exclude_codes": []}
    answer = await client.post(f"{API}/submit", json=body)
    assert (answer.status_code, slug(answer)) == (409, "batch-closed" if closed else "batch-not-ready")


async def test_a_repeated_request_gets_the_answer_that_was_waited_for(
    operator: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.batch(20)
    key = {"Idempotency-Key": "press-1"}
    working = asyncio.create_task(plant_works(plant))
    first = await operator.post(f"{API}/submit", json=order(made, wait=LONGEST_WAIT), headers=key)
    await working
    again = await operator.post(f"{API}/submit", json=order(made, wait=LONGEST_WAIT), headers=key)
    assert first.json()["status"] == "completed"
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"


async def plant_works(plant: Plant) -> None:
    while not await plant.work("reverse_job"):
        await asyncio.sleep(0.05)
