"""Importing codes that were printed elsewhere: all of a file or none, and no number handed out twice."""

import asyncio
import io
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from passlib.hash import bcrypt

from plant import Plant, ska
from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.imports import read_codes
from qrtrack.services.packing.batches import CreatedBatch, NumbersUsedUp, batch_progress, describe_batch
from qrtrack.services.packing.imports import BatchImport, import_batch


async def import_(plant: Plant, rows: Sequence[str], header: str = "code", units_per_case: int = 10) -> CreatedBatch:
    imported = read_codes(io.BytesIO("\n".join([header, *rows]).encode()))
    new = BatchImport(plant.order_id, "Silver 10 g", units_per_case, gtin=None, lot=None)
    return await import_batch(
        plant.runtime.database, caller=plant.caller, keys=plant.runtime.keys, new=new, imported=imported
    )


async def codes_of(plant: Plant, batch_id: Any) -> list[tuple[Any, ...]]:
    rows = await plant.sql(
        "SELECT sequence_number, code, variant FROM qr_codes WHERE batch_id = :id ORDER BY 1", id=batch_id
    )
    return [tuple(row) for row in rows]


async def test_imported_codes_are_numbered_in_the_order_of_the_file_and_may_be_packed_at_once(plant: Plant) -> None:
    made = await import_(plant, ["OLD-3", "OLD-1", "OLD-2"])
    assert await codes_of(plant, made.batch_id) == [(1, "OLD-3", None), (2, "OLD-1", None), (3, "OLD-2", None)]
    assert (made.status, made.quantity, made.first_code, made.last_code) == ("ready", 3, "OLD-3", "OLD-2")
    found = await describe_batch(plant.runtime.database, caller=plant.caller, batch_id=made.batch_id)
    assert (found.batch.status, batch_progress(found.batch), found.counts.cases_total) == ("ready", 100, 1)
    events = await plant.sql("SELECT action, sequences::text FROM trace_events")
    assert [tuple(event) for event in events] == [("batch.imported", "{[1,4)}")]


async def test_imported_root_keys_are_hashed_and_only_then_is_the_batch_ready(plant: Plant) -> None:
    made = await import_(plant, ["OLD-1,ZR4K", "OLD-2,", "OLD-3,QQ7M"], header="code,root_key")
    assert made.status == "hashing"
    await plant.work("hashing")
    found = await describe_batch(plant.runtime.database, caller=plant.caller, batch_id=made.batch_id)
    assert (found.batch.status, found.batch.keys_hashed, found.counts.unique_root_keys) == ("ready", 2, 2)
    rows = await plant.sql("SELECT root_key_hash, root_key_sealed FROM qr_codes ORDER BY sequence_number")
    keys = plant.runtime.keys
    assert keys.unseal(made.batch_id, 1, bytes(rows[0].root_key_sealed)) == "ZR4K"
    assert bcrypt.verify(keys.peppered(made.batch_id, 3, "QQ7M"), rows[2].root_key_hash)
    assert rows[1].root_key_hash is None


async def test_each_variant_has_its_own_run_and_cases(plant: Plant) -> None:
    made = await import_(plant, ["A1,10g", "A2,5g", "A3,10g", "A4,10g"], header="code,variant", units_per_case=2)
    assert await codes_of(plant, made.batch_id) == [
        (1, "A1", "10g"),
        (2, "A3", "10g"),
        (3, "A4", "10g"),
        (4, "A2", "5g"),
    ]
    cases = await plant.sql("SELECT variant, expected_units FROM qr_master_codes ORDER BY case_number")
    assert [tuple(case) for case in cases] == [("10g", 2), ("10g", 1), ("5g", 1)]


async def test_codes_that_exist_are_all_named_with_their_lines_and_nothing_is_imported(plant: Plant) -> None:
    await import_(plant, ["OLD-1", "OLD-2", "OLD-3"])
    with pytest.raises(InvalidInput) as refused:
        await import_(plant, ["NEW-1", "OLD-3", "NEW-2", "OLD-1"])
    assert [error.pointer for error in refused.value.errors] == ["/file/3/code", "/file/5/code"]
    assert (await plant.sql("SELECT count(*) AS codes FROM qr_codes"))[0].codes == 3
    assert (await plant.sql("SELECT count(*) AS batches FROM qr_batches"))[0].batches == 1


async def test_one_answer_names_rows_that_are_wrong_and_codes_that_exist_or_are_reserved(plant: Plant) -> None:
    await import_(plant, ["OLD-1", "OLD-2"])
    await plant.order(10)
    rows = ["NEW-1,", "OLD 5,", "OLD-2,", "SKA000007,", "NEW-1,", "OLD-1,Z"]
    with pytest.raises(InvalidInput, match="Nothing was imported") as refused:
        await import_(plant, rows, header="code,root_key")
    assert [error.pointer for error in refused.value.errors] == [
        "/file/3/code", "/file/4/code", "/file/5/code", "/file/6/code", "/file/7/root_key", "/file/7/code",
    ]  # fmt: skip
    assert len(await plant.sql("SELECT id FROM qr_batches")) == 2


async def test_a_file_that_cannot_be_read_at_all_is_refused(plant: Plant) -> None:
    with pytest.raises(InvalidInput) as refused:
        await import_(plant, ["OLD-1"], header="serial")
    assert [error.pointer for error in refused.value.errors] == ["/file/1"]


async def test_numbers_reserved_for_a_batch_are_refused_before_its_codes_exist(plant: Plant) -> None:
    await plant.order(10)
    with pytest.raises(InvalidInput) as refused:
        await import_(plant, ["SKA000011", "SKA000010", "SKA000001"])
    assert [error.pointer for error in refused.value.errors] == ["/file/3/code", "/file/4/code"]
    await plant.work("creating")
    assert len(await plant.sql("SELECT id FROM qr_codes")) == 10


@pytest.mark.parametrize("code", ["SKA0000001", "SKA1", "SKA-000001", "XSKA000001", "SKA00001"])
async def test_a_code_that_only_resembles_a_reserved_one_is_not_refused(plant: Plant, code: str) -> None:
    await plant.batch(10)
    assert (await import_(plant, [code])).quantity == 1


async def test_the_next_batch_is_numbered_after_the_imported_codes(plant: Plant) -> None:
    await import_(plant, ["SKA000500", "SKA000020", "ABC000007"])
    assert (await plant.order(10)).first_code == "SKA000501"
    assert (await plant.order(10, serial_prefix="ABC")).first_code == "ABC000008"
    await import_(plant, ["SKA000030"])
    assert (await plant.order(10)).first_code == "SKA000511"


async def test_a_prefix_that_an_import_used_up_is_refused_for_new_batches(plant: Plant) -> None:
    await import_(plant, ["SKA999999999990"])
    with pytest.raises(NumbersUsedUp, match="9 numbers left"):
        await plant.order(10)
    assert (await plant.order(9)).last_code == "SKA999999999999"
    with pytest.raises(NumbersUsedUp, match="0 numbers left"):
        await plant.order(1)


async def test_two_concurrent_imports_of_the_same_codes_create_them_once(plant: Plant) -> None:
    rows = [f"OLD-{number}" for number in range(2000)]
    ends = await asyncio.gather(import_(plant, rows), import_(plant, rows[::-1]), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["CreatedBatch", "InvalidInput"]
    refusal = next(end for end in ends if isinstance(end, InvalidInput))
    assert (len(refusal.errors), refusal.error_count) == (100, 2000)
    assert (await plant.sql("SELECT count(*) AS codes FROM qr_codes"))[0].codes == 2000


async def test_imports_and_batches_of_the_same_prefix_at_once_share_no_number(plant: Plant) -> None:
    ends = await asyncio.gather(
        *(import_(plant, ska(*range(10 * part + 1, 10 * part + 11))) for part in range(5)),
        *(plant.order(10) for _ in range(5)),
        return_exceptions=True,
    )
    await plant.work("creating")
    assert {type(end) for end in ends} <= {CreatedBatch, InvalidInput}
    rows = await plant.sql(
        "SELECT batch.quantity, count(code.id) AS codes FROM qr_batches AS batch LEFT JOIN qr_codes AS code"
        " ON code.batch_id = batch.id GROUP BY batch.id"
    )
    assert len(rows) == sum(isinstance(end, CreatedBatch) for end in ends) >= 5
    assert all(row.quantity == row.codes for row in rows)


async def test_two_organisations_may_have_the_same_codes(plant: Plant) -> None:
    await import_(plant, ["OLD-1"])
    other = Plant(plant.runtime, Caller("other", uuid4(), plant.caller.roles))
    assert (await import_(other, ["OLD-1"])).quantity == 1


async def test_a_hundred_thousand_rows_take_a_few_seconds(plant: Plant) -> None:
    rows = [f"OLD{number},K{number:06d}" for number in range(100_000)]
    began = time.process_time()
    made = await import_(plant, rows, header="code,root_key", units_per_case=1000)
    assert time.process_time() - began < 30
    found = await describe_batch(plant.runtime.database, caller=plant.caller, batch_id=made.batch_id)
    assert (found.counts.total_items, found.counts.unique_root_keys, found.counts.cases_total) == (
        100_000,
        100_000,
        100,
    )
