"""Counting again from the truth: normally nothing changes; what was wrong is restored, logged and counted."""

import asyncio
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from fanout import FanOut, done, failed
from plant import BY_KIND, Plant, ska
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.recalculation import RecalculationRepository
from qrtrack.services.gauges import read_gauges
from qrtrack.services.packing import batches as batches_service
from qrtrack.services.packing import code_creation as code_creation_service
from qrtrack.services.packing import preparation
from qrtrack.services.recalculation import Recalculation, recalculate_one, recalculate_progress
from qrtrack.worker.execution import run_next

SILENT = "updated_at = now() - interval '6 minutes'"


@pytest.fixture
async def fan_out(database: Database, caller: Caller) -> FanOut:
    """Ten records, seven of them in, one of those failed."""
    fan_out = await FanOut.announce(database, caller, 10)
    await fan_out.report(done(*range(6)) + failed("x"))
    return fan_out


async def recalculate(database: Database) -> Recalculation:
    return await recalculate_progress(database, silent_seconds=0)


async def told(database: Database) -> int:
    """How many repairs Prometheus is told of, by whatever process."""
    return (await read_gauges(database, zone=ZoneInfo("UTC"))).count_repairs.get("sync_batch", 0)


# --- Progress batches -----------------------------------------------------------------------------------------------


async def test_right_counters_are_not_changed(fan_out: FanOut) -> None:
    before = await fan_out.sql("SELECT *, xmin::text FROM sync_batch_progress")
    with capture_logs() as logs:
        found = await recalculate(fan_out.database)
    assert (found.checked, found.repaired, found.recounts, found.failed) == (1, 0, [], 0)
    after = await fan_out.sql("SELECT *, xmin::text FROM sync_batch_progress")
    assert after == before
    assert logs == []


@pytest.mark.parametrize(
    "spoiled",
    [
        "processed_records = 6",
        "processed_records = 9, progress_percentage = 90",
        "success_count = 0",
        "failed_records = 7",
        "progress_percentage = 99",
        "processed_records = 0, success_count = 0, failed_records = 0, progress_percentage = 0",
        "processed_records = 10, success_count = 10, failed_records = 0",
    ],
)
async def test_spoiled_counters_are_restored_and_told(fan_out: FanOut, spoiled: str) -> None:
    await fan_out.set(spoiled)
    drifts = await told(fan_out.database)
    wrong = (await fan_out.view()).processed_records
    with capture_logs() as logs:
        found = await recalculate(fan_out.database)
    assert await fan_out.counts() == ("processing", 7, 6, 1, 70)
    (repair,) = found.recounts
    assert (repair.kind, repair.id, found.repaired) == ("sync_batch", fan_out.batch_id, 1)
    assert (repair.before["processed_records"], repair.after["processed_records"]) == (wrong, 7)
    assert await told(fan_out.database) == drifts + 1
    (line,) = logs
    assert (line["log_level"], line["id"]) == ("error", str(fan_out.batch_id))
    assert (line["before"], line["after"]) == (repair.before, repair.after)
    assert (await recalculate(fan_out.database)).repaired == 0


async def test_a_batch_that_hung_with_all_its_records_in_is_completed(fan_out: FanOut) -> None:
    """1030 of 1037, and 99 % for ever: the row as it was found then."""
    await fan_out.report(done("y", "z") + failed("last"))
    truth = await fan_out.view()
    await fan_out.set(
        "status = 'processing', processed_records = 9, success_count = 7, failed_records = 2,"
        " progress_percentage = 99, completed_at = NULL, summary = NULL"
    )
    await recalculate(fan_out.database)
    assert await fan_out.counts() == ("completed", 10, 8, 2, 100)
    batch = await fan_out.view()
    assert batch.summary is not None
    assert truth.summary is not None
    assert batch.summary["first_failures"] == truth.summary["first_failures"]
    assert batch.completed_at is not None
    assert truth.completed_at is not None
    assert abs((batch.completed_at - truth.completed_at).total_seconds()) < 1


async def test_a_batch_that_hung_and_only_failed_ends_as_failed(database: Database, caller: Caller) -> None:
    fan_out = await FanOut.announce(database, caller, 2)
    await fan_out.report(failed("a", "b"))
    await fan_out.set("status = 'processing', progress_percentage = 50, completed_at = NULL, processed_records = 1")
    await recalculate(database)
    assert await fan_out.counts() == ("failed", 2, 0, 2, 100)


async def test_a_batch_that_ended_too_early_is_reopened_when_it_is_named(fan_out: FanOut) -> None:
    await fan_out.set("status = 'completed', processed_records = 10, progress_percentage = 100, completed_at = now()")
    assert (await recalculate(fan_out.database)).checked == 0
    assert (await recalculate_one(fan_out.database, fan_out.batch_id)).repaired == 1
    assert await fan_out.counts() == ("processing", 7, 6, 1, 70)
    assert (await fan_out.view()).completed_at is None
    assert (await fan_out.report(done("y", "z", "last"))).status == "completed"


async def test_a_batch_that_has_been_over_for_a_day_is_left_to_the_clean_up(fan_out: FanOut) -> None:
    await fan_out.cancel()
    await fan_out.set("processed_records = 3, completed_at = now() - interval '25 hours'")
    with pytest.raises(NotFound):
        await recalculate_one(fan_out.database, fan_out.batch_id)


async def test_a_cancelled_batch_stays_cancelled(fan_out: FanOut) -> None:
    await fan_out.cancel()
    await fan_out.set("processed_records = 3")
    found = await recalculate_one(fan_out.database, fan_out.batch_id)
    assert found.recounts[0].before["processed_records"] == 3
    assert await fan_out.counts() == ("cancelled", 7, 6, 1, 70)
    summary = (await fan_out.view()).summary
    assert summary is not None
    assert summary["processed"] == 7


async def test_more_records_than_announced_are_shown_as_they_are(fan_out: FanOut) -> None:
    """Where a spoiled counter let them in: the batch ends, and its numbers say what happened."""
    await fan_out.set("processed_records = 0")
    await fan_out.report(done(*range(20, 29)))
    await recalculate(fan_out.database)
    assert await fan_out.counts() == ("completed", 16, 15, 1, 100)


async def test_only_what_has_been_silent_is_recounted_by_itself(fan_out: FanOut) -> None:
    await fan_out.set("processed_records = 6")
    assert (await recalculate_progress(fan_out.database)).checked == 0
    await fan_out.set(SILENT)
    assert (await recalculate_progress(fan_out.database)).repaired == 1
    assert (await recalculate_progress(fan_out.database)).checked == 0


async def test_a_repair_leaves_a_trace(fan_out: FanOut) -> None:
    await fan_out.set("processed_records = 6")
    await recalculate(fan_out.database)
    (event,) = await fan_out.sql("SELECT * FROM trace_events WHERE action = 'counters.repaired'")
    assert (event.manufacturer_org_id, event.batch_id, event.actor) == (
        fan_out.caller.organisation_id,
        fan_out.batch_id,
        "qrtrack",
    )
    assert event.details["before"]["processed_records"] == 6
    assert event.details["after"]["processed_records"] == 7


async def test_recalculations_at_once_repair_nothing_twice(fan_out: FanOut) -> None:
    await fan_out.set("processed_records = 6")
    found = await asyncio.gather(*(recalculate(fan_out.database) for _ in range(8)))
    assert [one.checked for one in found] == [1] * 8
    assert sum(one.repaired for one in found) == 1
    assert len(await fan_out.sql("SELECT 1 FROM trace_events WHERE action = 'counters.repaired'")) == 1


async def test_reports_during_a_recalculation_are_counted_once(database: Database, caller: Caller) -> None:
    fan_out = await FanOut.announce(database, caller, 400)
    over = asyncio.Event()

    async def keep_recalculating() -> int:
        repaired = 0
        while not over.is_set():
            repaired += (await recalculate(database)).repaired
        return repaired

    recalculating = asyncio.create_task(keep_recalculating())
    await asyncio.gather(*(fan_out.report(done(number)) for number in range(400)))
    over.set()
    assert await recalculating == 0
    assert await fan_out.counts() == ("completed", 400, 400, 0, 100)


async def test_many_batches_are_recounted_by_pages(database: Database, caller: Caller) -> None:
    fan_outs = [await FanOut.announce(database, caller, 2) for _ in range(5)]
    for fan_out in fan_outs:
        await fan_out.report(done(1))
        await fan_out.set("success_count = 0")
    with patch("qrtrack.services.recalculation.PAGE", 2):
        found = await recalculate(database)
    assert (found.checked, found.repaired) == (5, 5)
    assert [recount.id for recount in found.recounts] == [fan_out.batch_id for fan_out in fan_outs]


async def test_a_row_that_cannot_be_recounted_does_not_stop_the_others(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await FanOut.announce(fan_out.database, fan_out.caller, 5)
    await other.report(done(1))
    await other.set("success_count = 0")
    count = RecalculationRepository.count

    async def stumble(self: Any, what: Any, id_: UUID) -> Any:
        if id_ == fan_out.batch_id:
            raise ValueError
        return await count(self, what, id_)

    monkeypatch.setattr(RecalculationRepository, "count", stumble)
    with capture_logs() as logs:
        found = await recalculate(fan_out.database)
    assert (found.checked, found.repaired, found.failed) == (2, 1, 1)
    assert logs[0]["event"] == "a row could not be recounted"
    assert (await other.counts())[2] == 1


async def test_a_database_that_goes_away_ends_the_recalculation(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(self: Any, *_: Any) -> Any:
        return await self._execute("SELECT pg_terminate_backend(pg_backend_pid())")

    await fan_out.set("processed_records = 6")
    with monkeypatch.context() as patched:
        patched.setattr(RecalculationRepository, "restore_sync_batch", killed)
        with pytest.raises(DatabaseUnavailable):
            await recalculate(fan_out.database)
    assert (await fan_out.counts())[1] == 6
    assert (await recalculate(fan_out.database)).repaired == 1


async def test_an_id_that_nothing_has_is_not_found(fan_out: FanOut) -> None:
    with pytest.raises(NotFound, match="There is nothing to recount with the id"):
        await recalculate_one(fan_out.database, uuid4())


# --- Batches --------------------------------------------------------------------------------------------------------


async def one_step(plant: Plant, kind: str) -> None:
    assert await run_next(plant.runtime, BY_KIND[kind], StopSignal()) is not None


async def batch_row(plant: Plant) -> Any:
    (row,) = await plant.sql("SELECT * FROM qr_batches")
    return row


@pytest.fixture
def chunks_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_service, "CREATING_CHUNK", 10)
    monkeypatch.setattr(batches_service, "HASHING_CHUNK", 10)
    monkeypatch.setattr(code_creation_service, "HASHING_CHUNK", 10)


@pytest.mark.usefixtures("chunks_of_ten")
@pytest.mark.parametrize("spoiled", [0, 4, 19])
async def test_the_items_of_a_batch_are_counted_by_its_codes(plant: Plant, spoiled: int) -> None:
    created = await plant.order(20, units_per_case=10)
    await one_step(plant, "creating")
    await plant.sql("UPDATE qr_batches SET items_created = :spoiled", spoiled=spoiled)
    (repair,) = (await recalculate(plant.runtime.database)).recounts
    assert (repair.kind, repair.id) == ("batch_items", created.batch_id)
    assert (repair.before, repair.after) == ({"items_created": spoiled}, {"items_created": 10})
    await plant.work("creating")
    row = await batch_row(plant)
    assert (row.status, row.items_created) == ("hashing", 20)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_batch_that_hung_with_all_its_codes_goes_on_to_its_second_stage(plant: Plant) -> None:
    await plant.order(20, units_per_case=10)
    await one_step(plant, "creating")
    await plant.sql("UPDATE qr_batches SET items_created = 3")
    await plant.work("creating")
    assert (await batch_row(plant)).status == "creating"
    await recalculate(plant.runtime.database)
    row = await batch_row(plant)
    assert (row.status, row.items_created) == ("hashing", 20)
    boxes = await plant.sql("SELECT case_number, expected_units FROM qr_master_codes ORDER BY 1")
    assert [tuple(box) for box in boxes] == [(1, 10), (2, 10)]
    await plant.work("hashing")
    assert (await batch_row(plant)).status == "ready"


@pytest.mark.usefixtures("chunks_of_ten")
@pytest.mark.parametrize("spoiled", [0, 9, 20])
async def test_the_hashes_of_a_batch_are_counted_by_its_keys(plant: Plant, spoiled: int) -> None:
    batch = await plant.batch(20)
    await one_step(plant, "hashing")
    await plant.sql("UPDATE qr_batches SET keys_hashed = :spoiled", spoiled=spoiled)
    (repair,) = (await recalculate(plant.runtime.database)).recounts
    assert (repair.kind, repair.id) == ("batch_hashes", batch.batch_id)
    assert (repair.before, repair.after) == ({"keys_hashed": spoiled}, {"keys_hashed": 10})
    await plant.work("hashing")
    row = await batch_row(plant)
    assert (row.status, row.keys_hashed) == ("ready", 20)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_batch_that_hung_with_all_its_keys_hashed_is_ready(plant: Plant) -> None:
    batch = await plant.batch(20)
    await one_step(plant, "hashing")
    await plant.sql("UPDATE qr_batches SET keys_hashed = 0")
    await plant.work("hashing")
    assert (await batch_row(plant)).status == "hashing"
    found = await recalculate_one(plant.runtime.database, batch.batch_id)
    assert [recount.kind for recount in found.recounts] == ["batch_hashes"]
    row = await batch_row(plant)
    assert (row.status, row.keys_hashed, row.ready_at is not None) == ("ready", 20, True)


async def test_batches_in_progress_are_not_changed(plant: Plant) -> None:
    await plant.order(20)
    await plant.batch(20, serial_prefix="SKB")
    found = await recalculate(plant.runtime.database)
    assert (found.checked, found.repaired) == (2, 0)


# --- Reverse jobs ---------------------------------------------------------------------------------------------------


async def half_done(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A job of 18 good codes that went back to the queue after its first chunk of ten, of which it prepared nine."""
    monkeypatch.setattr(preparation, "CHUNK", 10)
    job_id = await plant.submit(await plant.batch(20), ska(3, 13))
    prepare, stop = preparation._prepare_chunk, StopSignal()

    async def once(*arguments: Any) -> None:
        await prepare(*arguments)
        stop.set()

    with patch.object(preparation, "_prepare_chunk", once):
        await run_next(plant.runtime, BY_KIND["reverse_job"], stop)
    return job_id


async def job_row(plant: Plant) -> Any:
    (row,) = await plant.sql("SELECT * FROM qr_reverse_jobs")
    return row


@pytest.mark.parametrize(
    "spoiled",
    [
        "prepared_count = 0",
        "prepared_count = 8, remaining_to_prepare = 0",
        "prepared_count = 500, remaining_to_prepare = 500",
        "prepared_count = 1, progress = 5",
    ],
)
async def test_a_reverse_job_is_counted_by_the_codes_it_has_prepared(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    job_id = await half_done(plant, monkeypatch)
    before = await job_row(plant)
    assert (before.status, before.prepared_count, before.remaining_to_prepare, before.progress) == ("queued", 9, 9, 60)
    assert (await recalculate(plant.runtime.database)).repaired == 0
    await plant.sql(f"UPDATE qr_reverse_jobs SET {spoiled}")
    (repair,) = (await recalculate(plant.runtime.database)).recounts
    assert (repair.kind, repair.id, repair.after) == ("reverse_job", job_id, {"prepared_count": 9})
    row = await job_row(plant)
    assert (row.prepared_count, row.remaining_to_prepare, row.progress) == (9, 9, 60)
    (event,) = await plant.sql("SELECT job_id, batch_id FROM trace_events WHERE action = 'counters.repaired'")
    assert tuple(event) == (job_id, None)
    await plant.work("reverse_job")
    row = await job_row(plant)
    assert (row.status, row.result_summary["prepared"], row.result_summary["invalid"]) == ("completed", 18, 0)


async def test_a_job_whose_codes_are_packed_meanwhile_is_counted_the_same(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await half_done(plant, monkeypatch)
    await plant.sql("UPDATE qr_prepared_codes SET status = 'consumed', consumed_at = now() WHERE sequence_number < 5")
    found = await recalculate_one(plant.runtime.database, job_id)
    assert (found.repaired, found.recounts[0].before) == (0, {"prepared_count": 9})


async def test_a_job_that_is_over_has_nothing_to_recount(plant: Plant) -> None:
    batch = await plant.prepared(20)
    (job,) = await plant.sql("SELECT id FROM qr_reverse_jobs")
    for id_ in (job.id, batch.order_id):
        with pytest.raises(NotFound):
            await recalculate_one(plant.runtime.database, id_)
