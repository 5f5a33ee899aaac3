"""Submitting label jobs: what is printed once, by whom it is reserved, and what is refused before anything is drawn."""

import asyncio
import io
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from plant import BASE_URL, MadeBatch, Plant, ska
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidInput, InvalidState, NotFound
from qrtrack.domain.labels import label_jobs as rules
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Roll
from qrtrack.domain.labels.label_jobs import (
    AlreadyPrinted,
    FileNotReady,
    Labelled,
    LabelsReserved,
    NewLabelJob,
    NothingToPrint,
    RootKeysMissing,
)
from qrtrack.domain.labels.layouts import LabelTooSmall
from qrtrack.domain.packing.imports import read_codes
from qrtrack.services.labels import label_plans
from qrtrack.services.labels.label_formats import delete_label_format, store_label_format
from qrtrack.services.labels.label_jobs import cancel_label_job, retry_label_job, submit_label_job
from qrtrack.services.packing.batches import close_batch, forget_keys
from qrtrack.services.packing.codes import void_codes
from qrtrack.services.packing.imports import BatchImport, import_batch


async def printed(plant: Plant, batch: MadeBatch, **asked: Any) -> None:
    await plant.label(batch, **asked)
    await plant.work("label_job")


async def fail(plant: Plant) -> None:
    await plant.sql("UPDATE label_jobs SET status = 'failed', finished_at = now(), error_message = 'no paper'")


async def test_one_of_two_concurrent_jobs_for_the_same_units_prints(plant: Plant) -> None:
    batch = await plant.batch(20)
    for _ in range(5):
        tries = await asyncio.gather(*(plant.label(batch) for _ in range(4)), return_exceptions=True)
        refused = [found for found in tries if isinstance(found, LabelsReserved)]
        [job_id] = [found for found in tries if not isinstance(found, BaseException)]
        assert [refusal.members["label_job_id"] for refusal in refused] == [job_id] * 3
        await cancel_label_job(plant.runtime.database, caller=plant.caller, job_id=job_id)


async def test_a_job_reserves_its_own_range_only(plant: Plant) -> None:
    batch = await plant.batch(10)
    await plant.label(batch, first_code=ska(3)[0], last_code=ska(5)[0])
    for first, last in ((1, 3), (5, 10), (4, 4), (1, 10)):
        with pytest.raises(LabelsReserved):
            await plant.label(batch, first_code=ska(first)[0], last_code=ska(last)[0], reason="again")
    await plant.label(batch, last_code=ska(2)[0])
    await plant.label(batch, first_code=ska(6)[0])
    await plant.label(batch, Labelled.CASES)


async def test_printing_again_needs_a_reason_which_the_trace_keeps(plant: Plant) -> None:
    batch = await plant.batch(10)
    await printed(plant, batch, first_code=ska(2)[0], last_code=ska(3)[0])
    await printed(plant, batch, first_code=ska(7)[0], last_code=ska(7)[0])
    with pytest.raises(AlreadyPrinted) as refused:
        await plant.label(batch)
    assert refused.value.members == {
        "printed": [
            {"first_code": ska(2)[0], "last_code": ska(3)[0], "units": 2},
            {"first_code": ska(7)[0], "last_code": ska(7)[0], "units": 1},
        ],
        "printed_count": 3,
    }
    await printed(plant, batch, reason="Roll torn")
    rows = await plant.sql("SELECT reason, details FROM trace_events WHERE action = 'label_job.completed' ORDER BY id")
    assert [(row.reason, row.details["first_prints"]) for row in rows] == [(None, 2), (None, 1), ("Roll torn", 7)]


@pytest.mark.parametrize("state", ["printed", "packed", "scanned"])
async def test_a_printed_unit_of_any_state_is_printed_already(plant: Plant, state: str) -> None:
    batch = await plant.prepared(2, units_per_case=2)
    await printed(plant, batch)
    if state != "printed":
        await plant.pack(batch)
        await plant.sql("UPDATE qr_codes SET status = :state", state=state)
    with pytest.raises(AlreadyPrinted):
        await plant.label(batch)


async def test_a_cancelled_job_has_printed_nothing(plant: Plant) -> None:
    batch = await plant.batch(3)
    job_id = await plant.label(batch)
    await cancel_label_job(plant.runtime.database, caller=plant.caller, job_id=job_id)
    with pytest.raises(InvalidState, match="cancelled already"):
        await cancel_label_job(plant.runtime.database, caller=plant.caller, job_id=job_id)
    with pytest.raises(FileNotReady):
        await plant.label_file(job_id)
    await printed(plant, batch)


async def test_a_job_that_is_retried_needs_its_units_once_more(plant: Plant) -> None:
    batch, database = await plant.batch(4), plant.runtime.database
    failed = await plant.label(batch)
    with pytest.raises(InvalidState, match="Only a failed job"):
        await retry_label_job(database, caller=plant.caller, job_id=failed)
    await fail(plant)
    await plant.label(batch, first_code=ska(4)[0])
    with pytest.raises(LabelsReserved):
        await retry_label_job(database, caller=plant.caller, job_id=failed)
    await plant.work("label_job")
    with pytest.raises(AlreadyPrinted):
        await retry_label_job(database, caller=plant.caller, job_id=failed)


async def test_either_a_retry_or_a_concurrent_new_job_prints(plant: Plant) -> None:
    batch, database = await plant.batch(4), plant.runtime.database
    failed = await plant.label(batch)
    await fail(plant)
    tries = await asyncio.gather(
        retry_label_job(database, caller=plant.caller, job_id=failed), plant.label(batch), return_exceptions=True
    )
    assert sum(isinstance(found, LabelsReserved) for found in tries) == 1


async def test_void_units_alone_are_nothing_to_print(plant: Plant) -> None:
    batch = await plant.batch(3)
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(1, 2), reason="torn"
    )
    with pytest.raises(NothingToPrint):
        await plant.label(batch, last_code=ska(2)[0])


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"first_code": "SKA999999"}, "/first_code"),
        ({"last_code": "NOSUCH"}, "/last_code"),
        ({"first_code": "SKA000003", "last_code": "SKA000002"}, "/last_code"),
        ({"preset": "nosuch"}, "/preset"),
        ({"preset": "a4-65", "file_format": FileFormat.ZPL}, "/preset"),
        ({"preset": "a4-65", "start_at": 66}, "/start_at"),
        ({"preset": "roll-50x30", "start_at": 2}, "/start_at"),
        ({"preset": "tiny"}, "/preset"),
        ({"what": Labelled.CASES, "preset": "tiny"}, "/preset"),
        ({"what": Labelled.CASES, "first_case": 4}, "/first_case"),
        ({"what": Labelled.CASES, "last_case": 4}, "/last_case"),
        ({"what": Labelled.CASES, "first_case": 3, "last_case": 2}, "/last_case"),
    ],
)
async def test_a_refused_label_job_points_at_the_wrong_field(plant: Plant, asked: dict[str, Any], pointer: str) -> None:
    batch, database = await plant.batch(5, units_per_case=2), plant.runtime.database
    await store_label_format(database, caller=plant.caller, name="tiny", label_format=Roll(25.4, 10.0))
    with pytest.raises(InvalidInput) as refused:
        await plant.label(batch, **asked)
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert await plant.sql("SELECT 1 FROM label_jobs") == []


async def test_a_code_of_another_batch_is_not_found_in_this_batch(plant: Plant) -> None:
    batch, other = await plant.batch(3), await plant.batch(3)
    with pytest.raises(InvalidInput):
        await plant.label(batch, first_code=other.first_code)


async def test_a_job_has_at_most_100_000_labels(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules.LABELS_IN_JOB == 100_000
    monkeypatch.setattr(label_plans, "LABELS_IN_JOB", 4)
    batch = await plant.batch(5, units_per_case=1)
    for what in Labelled:
        with pytest.raises(InvalidInput, match="at most 4"):
            await plant.label(batch, what)
    await plant.label(batch, last_code=ska(4)[0])


async def test_labels_for_tills_need_larger_modules(plant: Plant) -> None:
    batch, database = await plant.batch(2), plant.runtime.database
    await store_label_format(database, caller=plant.caller, name="small", label_format=Roll(28.0, 15.0))
    with pytest.raises(LabelTooSmall, match=r"0\.396"):
        await plant.label(batch, preset="small", at_tills=True)
    await plant.label(batch, preset="small")


async def test_a_batch_whose_codes_are_not_there_cannot_be_printed(plant: Plant) -> None:
    created = await plant.order(5)
    with pytest.raises(BatchNotReady):
        await submit_label_job(
            plant.runtime.database,
            caller=plant.caller,
            batch_id=created.batch_id,
            new=NewLabelJob(Labelled.UNITS),
            base_url=BASE_URL,
        )
    with pytest.raises(NotFound):
        await submit_label_job(
            plant.runtime.database,
            caller=plant.caller,
            batch_id=uuid4(),
            new=NewLabelJob(Labelled.UNITS),
            base_url=BASE_URL,
        )


async def test_packed_units_of_a_closed_batch_can_be_printed_again(plant: Plant) -> None:
    batch = await plant.prepared(4, units_per_case=2)
    await printed(plant, batch)
    await plant.pack(batch)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="short")
    job_id = await plant.label(batch, reason="Label torn")
    await plant.work("label_job")
    assert (await plant.row("label_jobs", job_id)).drawn_count == 2


async def test_forgotten_keys_are_printed_no_more_and_their_files_are_gone(plant: Plant) -> None:
    batch, database = await plant.batch(3), plant.runtime.database
    await plant.work("hashing")
    with_keys = await plant.label(batch, with_root_key=True)
    with pytest.raises(InvalidState, match="is queued or running"):
        await forget_keys(database, caller=plant.caller, batch_id=batch.batch_id)
    await plant.work("label_job")
    without = await plant.label(batch, reason="Scratch layer missing")
    await plant.work("label_job")
    await forget_keys(database, caller=plant.caller, batch_id=batch.batch_id)
    with pytest.raises(NotFound, match="was deleted with them"):
        await plant.label_file(with_keys)
    assert await plant.label_file(without)
    rows = await plant.sql("SELECT DISTINCT job_id FROM label_files")
    assert [row.job_id for row in rows] == [without]
    with pytest.raises(RootKeysMissing):
        await plant.label(batch, with_root_key=True, reason="again")


async def test_a_format_that_is_changed_or_deleted_is_still_that_of_jobs_before(plant: Plant) -> None:
    batch, database = await plant.batch(2), plant.runtime.database
    await store_label_format(database, caller=plant.caller, name="mine", label_format=Roll(60.0, 40.0))
    job_id = await plant.label(batch, preset="mine")
    await delete_label_format(database, caller=plant.caller, name="mine")
    await plant.work("label_job")
    assert b"/MediaBox[0 0 170.0787 113.3858]" in await plant.label_file(job_id)


async def test_a_label_that_is_too_small_for_a_long_imported_root_key_is_refused_before_it_is_drawn(
    plant: Plant,
) -> None:
    imported = read_codes(io.BytesIO(f"code,root_key\nOLD-1,{'K' * 32}\n".encode()))
    new = BatchImport(plant.order_id, "Silver 10 g", 10, gtin=None, lot=None)
    database = plant.runtime.database
    made = await import_batch(database, caller=plant.caller, keys=plant.runtime.keys, new=new, imported=imported)
    await store_label_format(database, caller=plant.caller, name="small", label_format=Roll(22.0, 30.0))
    job = NewLabelJob(Labelled.UNITS, preset="small")
    submit = partial(submit_label_job, database, caller=plant.caller, batch_id=made.batch_id, base_url=BASE_URL)
    with pytest.raises(LabelTooSmall):
        await submit(new=replace(job, with_root_key=True))
    await submit(new=job)
