import asyncio
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest

from plant import MadeBatch, Plant
from qrtrack.database import Database
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.claims import Claim
from qrtrack.domain.errors import DomainError, InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.case_packing import OrderMismatch
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.repositories.packing.reverse_jobs import ReverseJobRepository
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.services.claims import claim_work
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.codes import void_codes
from qrtrack.services.packing.reverse_jobs import (
    DryRun,
    UnknownExcludeCodes,
    cancel_reverse_job,
    dry_run_reverse_job,
    list_log,
    retry_reverse_job,
    view_reverse_job,
)

JOBS = "qr_reverse_jobs"


def codes(*numbers: int) -> list[str]:
    return [f"SKA{number:06d}" for number in numbers]


async def dry_run(plant: Plant, batch: MadeBatch, *numbers: int, **asked: Any) -> DryRun:
    new = NewJob(batch.batch_id, batch.order_id, codes(*numbers), **asked)
    return await dry_run_reverse_job(plant.runtime.database, caller=plant.caller, new=new)


async def cancel(plant: Plant, job_id: Any) -> Any:
    return await cancel_reverse_job(plant.runtime.database, caller=plant.caller, job_id=job_id)


async def fail(plant: Plant) -> Claim:
    """The oldest job of the queue, failed for good."""
    [held] = await claim_work(plant.runtime.database, REVERSE_JOBS, 1, lease_seconds=30)
    async with plant.runtime.database.write() as repositories:
        await repositories.leased(REVERSE_JOBS).fail(held, "no paper", permanent=True)
    return held


async def test_a_submission_with_unknown_codes_is_refused_with_all_of_them_and_leaves_nothing(plant: Plant) -> None:
    batch = await plant.batch(10)
    other = await plant.batch(10)
    wrong = ["SKA000011", "SKA999999", "XXX000001"]
    with pytest.raises(UnknownExcludeCodes) as refusal:
        await plant.submit(batch, [*codes(3), *wrong])
    assert refusal.value.slug == "unknown-exclude-codes"
    assert refusal.value.members["codes"] == wrong
    for table in (JOBS, "qr_excluded_codes"):
        assert await plant.sql(f"SELECT 1 FROM {table}") == []
    assert other.first_code == "SKA000011"


async def test_listed_codes_that_are_unavailable_already_are_accepted_and_counted(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=5)
    await plant.pack(batch)
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=codes(6), reason="torn"
    )
    job_id = await plant.submit(batch, codes(1, 2, 6, 7))
    await plant.work("reverse_job")
    summary = (await plant.row(JOBS, job_id)).result_summary
    assert (summary["excluded_count"], summary["excluded_already_unavailable"]) == (1, 3)


async def test_a_dry_run_counts_what_the_job_then_does_and_changes_nothing(plant: Plant) -> None:
    batch = await plant.prepared(30, codes(30), units_per_case=5)
    await plant.pack(batch)
    everything = "SELECT count(*) FROM {}"
    tables = (JOBS, "qr_excluded_codes", "qr_prepared_codes", "qr_reverse_job_logs", "trace_events")
    before = [await plant.sql(everything.format(table)) for table in tables]
    told = await dry_run(plant, batch, 1, 10, 30)
    assert [await plant.sql(everything.format(table)) for table in tables] == before
    job_id = await plant.submit(batch, codes(1, 10, 30))
    await plant.work("reverse_job")
    done = (await plant.row(JOBS, job_id)).result_summary
    assert (told.exclude_count, told.unknown_codes, list(told.unavailable_codes)) == (3, [], codes(1))
    assert done == {
        "prepared": told.would_prepare,
        "duplicates": told.duplicates,
        "invalid": 0,
        "total_available": told.total_available,
        "excluded_count": told.excluded_count,
        "excluded_already_unavailable": told.excluded_already_unavailable,
    }
    assert (told.total_available, told.excluded_count, told.duplicates, told.would_prepare) == (25, 2, 23, 0)


async def test_a_dry_run_names_what_a_submission_would_refuse(plant: Plant) -> None:
    batch = await plant.batch(3)
    assert list((await dry_run(plant, batch, 1, 4, 5)).unknown_codes) == codes(4, 5)


async def test_a_dry_run_of_a_variant_counts_that_variant(plant: Plant) -> None:
    batch = await plant.batch(variants=[("10g", 30), ("5g", 20)])
    told = await dry_run(plant, batch, 1, 31, variant="5g")
    assert (told.total_available, told.excluded_count, told.would_prepare) == (20, 1, 19)


async def test_a_job_for_an_unknown_batch_order_or_variant_is_refused(plant: Plant, runtime: Any) -> None:
    batch = await plant.batch(3)
    stranger = Plant(runtime, Caller("stranger", uuid4(), plant.caller.roles))
    with pytest.raises(NotFound):
        await stranger.submit(batch)
    with pytest.raises(OrderMismatch):
        await plant.submit(MadeBatch(batch.batch_id, uuid4(), batch.uniq_code, None, None, ()))
    with pytest.raises(InvalidInput):
        await plant.submit(batch, variant="5g")


async def test_a_job_for_a_batch_without_codes_or_a_closed_one_is_refused(plant: Plant, database: Database) -> None:
    created = await plant.order(10)
    made = MadeBatch(created.batch_id, plant.order_id, created.uniq_code, None, None, ())
    with pytest.raises(BatchNotReady):
        await plant.submit(made)
    await plant.work("creating")
    await close_batch(database, caller=plant.caller, batch_id=made.batch_id, reason="by mistake")
    with pytest.raises(BatchClosed):
        await plant.submit(made)


async def test_a_queued_job_is_cancelled_at_once_and_never_claimed(plant: Plant) -> None:
    batch = await plant.batch(10)
    job_id = await plant.submit(batch, codes(4))
    assert (await cancel(plant, job_id)).status == "cancelled"
    assert await plant.work("reverse_job") == []
    assert await plant.sql("SELECT 1 FROM qr_excluded_codes") == []
    row = await plant.row(JOBS, job_id)
    assert (row.status, row.attempts, row.progress) == ("cancelled", 0, 0)
    assert row.finished_at is not None


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_a_job_that_has_ended_cannot_be_cancelled(plant: Plant, end: str) -> None:
    batch = await plant.batch(3)
    job_id = await plant.submit(batch)
    match end:
        case "completed":
            await plant.work("reverse_job")
        case "failed":
            await fail(plant)
        case _:
            await cancel(plant, job_id)
    before = await plant.row(JOBS, job_id)
    with pytest.raises(InvalidState) as refusal:
        await cancel(plant, job_id)
    assert refusal.value.members["state"] == end
    assert await plant.row(JOBS, job_id) == before


async def test_cancelling_leaves_packed_codes_packed(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=5)
    job_id = await plant.submit(batch)
    with patch("qrtrack.services.packing.preparation.CHUNK", 10):
        # Half of it, and then its worker is gone.
        prepare = ReverseJobRepository.prepare

        async def half(self: Any, job: Any, first: int, last: int) -> Any:
            if first > 10:
                raise OSError("no paper")
            return await prepare(self, job, first, last)

        with patch.object(ReverseJobRepository, "prepare", half):
            await plant.work("reverse_job")
    await plant.pack(batch)
    assert (await cancel(plant, job_id)).withdrawn == 5
    rows = await plant.sql("SELECT status, count(*) AS n FROM qr_prepared_codes GROUP BY status")
    assert [tuple(row) for row in rows] == [("consumed", 5)]


async def test_many_cancellations_at_once_end_a_job_once(plant: Plant) -> None:
    job_id = await plant.submit(await plant.batch(3))
    ends = await asyncio.gather(*(cancel(plant, job_id) for _ in range(6)), return_exceptions=True)
    assert sum(not isinstance(end, Exception) for end in ends) == 1
    assert all(isinstance(end, InvalidState) for end in ends if isinstance(end, Exception))
    assert len(await plant.sql("SELECT 1 FROM trace_events WHERE action = 'reverse_job.cancelled'")) == 1


async def test_only_a_failed_job_is_retried(plant: Plant, database: Database) -> None:
    batch = await plant.batch(3)
    job_id = await plant.submit(batch)
    with pytest.raises(InvalidState) as refusal:
        await retry_reverse_job(database, caller=plant.caller, job_id=job_id)
    assert refusal.value.members["state"] == "queued"
    await fail(plant)
    await retry_reverse_job(database, caller=plant.caller, job_id=job_id)
    await plant.work("reverse_job")
    assert (await plant.row(JOBS, job_id)).status == "completed"


async def test_closing_a_batch_ends_its_jobs_and_empties_its_queue(plant: Plant, database: Database) -> None:
    batch = await plant.prepared(10)
    queued = await plant.submit(batch)
    running = await plant.submit(batch)
    await plant.sql("UPDATE qr_reverse_jobs SET priority = 9 WHERE id = :id", id=running)
    [held] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    closed = await close_batch(database, caller=plant.caller, batch_id=batch.batch_id, reason="run short")
    assert held.id == running
    assert set(closed.cancelled_jobs) == {queued, running}
    for job_id in (queued, running):
        assert (await plant.row(JOBS, job_id)).status == "cancelled"
    assert await plant.sql("SELECT 1 FROM qr_prepared_codes WHERE status = 'prepared'") == []
    assert await plant.work("reverse_job") == []


async def test_a_retry_and_a_closing_at_once_leave_no_live_job_on_a_closed_batch(
    plant: Plant, database: Database
) -> None:
    for _ in range(8):
        batch = await plant.batch(3)
        job_id = await plant.submit(batch)
        await fail(plant)

        async def retry(job_id: Any = job_id) -> str:
            try:
                return (await retry_reverse_job(database, caller=plant.caller, job_id=job_id)).status
            except DomainError as error:
                return error.slug

        told, _ = await asyncio.gather(
            retry(), close_batch(database, caller=plant.caller, batch_id=batch.batch_id, reason="run short")
        )
        row = await plant.row(JOBS, job_id)
        assert (told, row.status) in {("queued", "cancelled"), ("batch-closed", "failed")}


async def test_a_retry_waits_while_the_batch_is_being_closed(plant: Plant, database: Database) -> None:
    batch = await plant.batch(3)
    job_id = await plant.submit(batch)
    await fail(plant)
    lock_live_of_batch = ReverseJobRepository.lock_live_of_batch
    looked, go_on = asyncio.Event(), asyncio.Event()

    async def look_and_wait(self: Any, batch_id: Any) -> Any:
        found = await lock_live_of_batch(self, batch_id)
        looked.set()
        await go_on.wait()
        return found

    with patch.object(ReverseJobRepository, "lock_live_of_batch", look_and_wait):
        closing = asyncio.create_task(
            close_batch(database, caller=plant.caller, batch_id=batch.batch_id, reason="run short")
        )
        await looked.wait()
        retrying = asyncio.create_task(retry_reverse_job(database, caller=plant.caller, job_id=job_id))
        await asyncio.wait({retrying}, timeout=0.3)
        go_on.set()
        await closing
    with pytest.raises(BatchClosed):
        await retrying
    assert (await plant.row(JOBS, job_id)).status == "failed"


async def test_the_place_in_the_queue_counts_within_the_organisation(plant: Plant, database: Database) -> None:
    batch = await plant.batch(3)
    first, second = [await plant.submit(batch) for _ in range(2)]
    urgent = await plant.submit(batch, priority=9)

    async def place(job_id: Any) -> int | None:
        return (await view_reverse_job(database, caller=plant.caller, job_id=job_id)).queue_position

    assert [await place(job_id) for job_id in (urgent, first, second)] == [1, 2, 3]
    await plant.work("reverse_job")
    assert await place(urgent) is None


async def test_jobs_logs_and_prepared_codes_are_listed_page_by_page(plant: Plant, database: Database) -> None:
    batch = await plant.batch(5)
    first, second = [await plant.submit(batch) for _ in range(2)]
    await plant.work("reverse_job")
    caller = plant.caller
    completed = JobSelection(batch_id=batch.batch_id, status="completed")
    async with plant.read() as repositories:
        page = await repositories.reverse_jobs.list(completed, before=None, limit=1)
        assert [job.id for job in page] == [second]
        page = await repositories.reverse_jobs.list(JobSelection(), before=second, limit=9)
        assert [job.id for job in page] == [first]
    lines = await list_log(database, caller=caller, job_id=first, after=0, limit=2)
    rest = await list_log(database, caller=caller, job_id=first, after=lines[-1].id, limit=9)
    assert [line.message.split(" ")[0].rstrip(":;") for line in [*lines, *rest]] == [
        "Submitted",
        "Counted",
        "Completed",
    ]
    async with plant.read() as repositories:
        prepared = repositories.prepared_codes
        rows = await prepared.list_of_job(first, status="prepared", after=0, limit=3)
        others = await prepared.list_of_job(first, status=None, after=rows[-1].id, limit=9)
    assert [row.code for row in [*rows, *others]] == codes(1, 2, 3, 4, 5)
    stranger = Caller("stranger", uuid4(), caller.roles)
    with pytest.raises(NotFound):
        await list_log(database, caller=stranger, job_id=first, after=0, limit=2)
