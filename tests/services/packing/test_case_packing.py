"""Packing a case from the queue: contiguous runs, check scans, refusals, and many stations at once."""

import asyncio
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest

from plant import MadeBatch, Plant, ska
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.claims import Interrupted
from qrtrack.domain.errors import InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.case_packing import (
    CaseAlreadyPacked,
    CaseOfOtherBatch,
    CountDrift,
    FirstCodeNotPrepared,
    NotEnoughPrepared,
    OrderMismatch,
    PackCase,
    Skipped,
    VariantMismatch,
)
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.packing.case_packing import CasePackingRepository
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.services.claims import claim_work
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.case_packing import CodeTakenMeanwhile, PackedCase, pack_case
from qrtrack.services.packing.codes import list_codes, readmit_codes, void_codes
from qrtrack.services.packing.preparation import run_reverse_job
from ticking import HANG_SECONDS


class AfterOneChunk(StopSignal):
    """Stops a job in good order before its second chunk."""

    def is_set(self) -> bool:
        stops = super().is_set()
        self.set()
        return stops


def numbers_of(packed: PackedCase) -> list[int]:
    return [int(code.removeprefix("SKA")) for code in packed.linked_codes]


async def queue_heads(plant: Plant, batch: MadeBatch) -> list[int]:
    rows = await plant.sql(
        "SELECT queue_head FROM qr_batch_variants WHERE batch_id = :id ORDER BY first_sequence", id=batch.batch_id
    )
    return [row.queue_head for row in rows]


async def box(plant: Plant, master_code: str) -> Any:
    return (await plant.sql("SELECT * FROM qr_master_codes WHERE master_code = :code", code=master_code))[0]


async def assert_nothing_packed(plant: Plant, batch: MadeBatch, *, queued: int) -> None:
    assert set((await plant.states(batch)).values()) <= {"generated", "void", "scanned", "redeemed"}
    assert len(await plant.queue(batch)) == queued
    assert await plant.events(batch, "case.packed") == []


async def test_a_case_takes_the_first_units_in_serial_order(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    first, second = await plant.pack(batch), await plant.pack(batch, 1)
    assert list(first.linked_codes) == ska(*range(1, 11))
    assert list(second.linked_codes) == ska(*range(11, 21))
    assert (first.linked_count, first.consumed_count, first.from_queue) == (10, 10, True)
    assert first.master_code_info.completeness == "inferred"


async def test_case_codes_queue_and_trace_change_together(plant: Plant) -> None:
    batch = await plant.prepared(10, units_per_case=5)
    packed = await plant.pack(batch, station="Line 2")
    row = await box(plant, batch.master_codes[0])
    assert (row.status, row.actual_units, row.station, row.packed_by) == ("packed", 5, "Line 2", plant.caller.user_id)
    assert (row.first_code, row.last_code) == (packed.linked_codes[0], packed.linked_codes[-1])
    inside = await plant.sql("SELECT sequence_number FROM qr_codes WHERE master_code_id = :id ORDER BY 1", id=row.id)
    assert [code.sequence_number for code in inside] == [1, 2, 3, 4, 5]
    assert await plant.queue(batch, "consumed") == [1, 2, 3, 4, 5]
    assert await plant.queue(batch) == [6, 7, 8, 9, 10]
    event = (await plant.sql("SELECT * FROM trace_events WHERE action = 'case.packed'"))[0]
    assert (event.station, event.actor, event.unit_count) == ("Line 2", plant.caller.user_id, 5)
    assert await plant.events(batch, "case.packed") == [("case.packed", "{[1,6)}")]


async def test_excluded_units_are_not_packed(plant: Plant) -> None:
    batch = await plant.prepared(12, exclude=ska(2, 5), units_per_case=5)
    assert numbers_of(await plant.pack(batch)) == [1, 3, 4, 6, 7]
    assert await plant.events(batch, "case.packed") == [("case.packed", "{[1,2),[3,5),[6,8)}")]


async def test_fewer_units_than_the_case_holds_may_be_asked_for(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    packed = await plant.pack(batch, target_units=4)
    assert (packed.master_code_info.expected_units, packed.master_code_info.actual_units) == (10, 4)


@pytest.mark.parametrize("units", [11, 0, -1])
async def test_a_number_of_units_that_the_case_cannot_hold_is_refused(plant: Plant, units: int) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    with pytest.raises(InvalidInput) as refused:
        await plant.pack(batch, target_units=units)
    assert [error.pointer for error in refused.value.errors] == ["/target_units"]
    await assert_nothing_packed(plant, batch, queued=20)


async def test_too_few_prepared_units_are_refused_with_their_number(plant: Plant) -> None:
    batch = await plant.prepared(10, exclude=ska(1, 2, 3), units_per_case=10)
    with pytest.raises(NotEnoughPrepared) as refused:
        await plant.pack(batch)
    assert refused.value.members["available"] == 7
    await assert_nothing_packed(plant, batch, queued=7)


async def test_a_smaller_case_is_packed_if_partial_cases_are_allowed(plant: Plant) -> None:
    batch = await plant.prepared(10, exclude=ska(1, 2, 3), units_per_case=10)
    packed = await plant.pack(batch, allow_partial=True)
    assert (packed.linked_count, packed.master_code_info.actual_units) == (7, 7)


async def test_a_partial_case_holds_at_least_one_unit(plant: Plant) -> None:
    batch = await plant.batch(10, units_per_case=10)
    with pytest.raises(NotEnoughPrepared) as refused:
        await plant.pack(batch, allow_partial=True)
    assert refused.value.members["available"] == 0


async def test_a_double_scan_is_refused_with_the_case_as_it_was_packed(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch, station="Line 1")
    with pytest.raises(CaseAlreadyPacked) as refused:
        await plant.pack(batch, station="Line 2")
    info = refused.value.members["master_code_info"]
    assert (info["master_code"], info["case_number"], info["actual_units"]) == (batch.master_codes[0], 1, 10)
    assert (info["station"], info["first_code"], info["last_code"]) == ("Line 1", *ska(1, 10))
    assert len(await plant.queue(batch)) == 10


async def test_two_scans_of_a_case_at_the_same_moment_pack_it_once(plant: Plant) -> None:
    batch = await plant.prepared(60, units_per_case=10)
    ends = await asyncio.gather(*(plant.pack(batch) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(end, PackedCase) for end in ends) == 1
    assert sum(isinstance(end, CaseAlreadyPacked) for end in ends) == 4
    assert len(await plant.queue(batch)) == 50


async def test_an_unknown_case_is_not_found(plant: Plant) -> None:
    batch = await plant.prepared(10)
    request = PackCase(batch.batch_id, batch.order_id, "NOSUCHCASE-C0001")
    with pytest.raises(NotFound, match="master case"):
        await pack_case(plant.runtime.database, caller=plant.caller, request=request)


async def test_an_unknown_batch_is_not_found(plant: Plant) -> None:
    batch = await plant.prepared(10)
    request = PackCase(uuid4(), batch.order_id, batch.master_codes[0])
    with pytest.raises(NotFound, match="batch"):
        await pack_case(plant.runtime.database, caller=plant.caller, request=request)


async def test_the_case_of_another_batch_is_refused(plant: Plant) -> None:
    batch, other = await plant.prepared(10), await plant.batch(10)
    request = PackCase(batch.batch_id, batch.order_id, other.master_codes[0])
    with pytest.raises(CaseOfOtherBatch):
        await pack_case(plant.runtime.database, caller=plant.caller, request=request)


async def test_a_wrong_order_is_refused(plant: Plant) -> None:
    batch = await plant.prepared(10)
    request = PackCase(batch.batch_id, uuid4(), batch.master_codes[0])
    with pytest.raises(OrderMismatch):
        await pack_case(plant.runtime.database, caller=plant.caller, request=request)
    await assert_nothing_packed(plant, batch, queued=10)


async def test_a_batch_whose_codes_do_not_exist_yet_is_not_ready(plant: Plant) -> None:
    created = await plant.order(10)
    request = PackCase(created.batch_id, plant.order_id, "ANY")
    with pytest.raises(BatchNotReady):
        await pack_case(plant.runtime.database, caller=plant.caller, request=request)


async def test_no_unit_of_a_closed_batch_can_be_packed(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="Run short")
    with pytest.raises(BatchClosed):
        await plant.pack(batch)


async def test_the_batch_of_another_organisation_is_not_found(plant: Plant) -> None:
    batch = await plant.prepared(10)
    stranger = Caller("stranger", uuid4(), plant.caller.roles)
    request = PackCase(batch.batch_id, batch.order_id, batch.master_codes[0])
    with pytest.raises(NotFound, match="batch"):
        await pack_case(plant.runtime.database, caller=stranger, request=request)


class TestVariants:
    async def test_a_case_takes_units_of_its_own_variant_only(self, plant: Plant) -> None:
        batch = await plant.prepared(variants=[("5g", 7), ("10g", 8)], units_per_case=5)
        assert numbers_of(await plant.pack(batch, 2)) == [8, 9, 10, 11, 12]
        assert numbers_of(await plant.pack(batch, 1, target_units=2)) == [1, 2]
        assert numbers_of(await plant.pack(batch, 0)) == [3, 4, 5, 6, 7]

    async def test_the_end_of_one_variant_is_the_end_of_its_queue(self, plant: Plant) -> None:
        batch = await plant.prepared(variants=[("5g", 7), ("10g", 8)], units_per_case=5)
        await plant.pack(batch, 0)
        with pytest.raises(NotEnoughPrepared) as refused:
            await plant.pack(batch, 1, target_units=2, first_code=ska(7)[0])
        assert refused.value.members["available"] == 1

    async def test_a_case_of_another_variant_than_the_station_packs_is_refused(self, plant: Plant) -> None:
        batch = await plant.prepared(variants=[("5g", 5), ("10g", 5)], units_per_case=5)
        with pytest.raises(VariantMismatch):
            await plant.pack(batch, 0, variant="10g")
        assert (await plant.pack(batch, 0, variant="5g")).linked_count == 5

    @pytest.mark.parametrize("scan", [{"first_code": "SKA000001"}, {"last_code": "SKA000005"}])
    async def test_a_scanned_unit_of_another_variant_is_refused(self, plant: Plant, scan: dict[str, Any]) -> None:
        batch = await plant.prepared(variants=[("5g", 5), ("10g", 5)], units_per_case=5)
        with pytest.raises(VariantMismatch):
            await plant.pack(batch, 1, **scan)

    async def test_a_job_of_one_variant_leaves_the_other_unprepared(self, plant: Plant) -> None:
        batch = await plant.batch(variants=[("5g", 5), ("10g", 5)], units_per_case=5)
        await plant.submit(batch, variant="10g")
        await plant.work("reverse_job")
        assert numbers_of(await plant.pack(batch, 1)) == [6, 7, 8, 9, 10]
        with pytest.raises(NotEnoughPrepared):
            await plant.pack(batch, 0)


class TestCheckScans:
    async def test_both_check_scans_make_the_case_verified(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        first, last = ska(1, 10)
        packed = await plant.pack(batch, first_code=first, last_code=last)
        assert packed.master_code_info.completeness == "verified"
        assert (await box(plant, batch.master_codes[0])).completeness == "verified"

    @pytest.mark.parametrize("scan", [{"first_code": "SKA000001"}, {"last_code": "SKA000010"}])
    async def test_one_check_scan_leaves_the_case_inferred(self, plant: Plant, scan: dict[str, Any]) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        assert (await plant.pack(batch, **scan)).master_code_info.completeness == "inferred"

    async def test_the_run_starts_at_the_scanned_first_unit(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        assert numbers_of(await plant.pack(batch, first_code=ska(21)[0])) == list(range(21, 31))
        assert numbers_of(await plant.pack(batch, 1)) == list(range(1, 11))

    async def test_a_run_from_the_middle_leaves_earlier_units_in_the_queue(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch, first_code=ska(2)[0])
        assert await queue_heads(plant, batch) == [1]
        assert numbers_of(await plant.pack(batch, 1)) == [1, *range(12, 21)]

    @pytest.mark.parametrize("state", ["excluded", "void", "packed", "scanned", "redeemed", "not prepared"])
    async def test_a_first_unit_that_is_not_prepared_is_refused_with_its_state(self, plant: Plant, state: str) -> None:
        batch = await plant.batch(40, units_per_case=10)
        await plant.submit(batch, ska(15) if state == "excluded" else [])
        await plant.work("reverse_job")
        changes = {
            "void": "UPDATE qr_codes SET status = 'void', voided_at = now() WHERE sequence_number = 15",
            "scanned": "UPDATE qr_codes SET status = 'scanned' WHERE sequence_number = 15",
            "redeemed": "UPDATE qr_codes SET status = 'redeemed' WHERE sequence_number = 15",
            "not prepared": "DELETE FROM qr_prepared_codes WHERE sequence_number = 15",
        }
        if state == "packed":
            await plant.pack(batch, 3, first_code=ska(11)[0])
        elif state != "excluded":
            await plant.sql(changes[state])
        with pytest.raises(FirstCodeNotPrepared) as refused:
            await plant.pack(batch, first_code=ska(15)[0])
        assert refused.value.members["state"] == state

    @pytest.mark.parametrize("field", ["first_code", "last_code"])
    async def test_a_scanned_code_that_is_not_in_the_batch_is_bad_input(self, plant: Plant, field: str) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        scan: dict[str, Any] = {field: "SKA000999"}
        with pytest.raises(InvalidInput) as refused:
            await plant.pack(batch, **scan)
        assert [error.pointer for error in refused.value.errors] == [f"/{field}"]

    async def test_a_last_unit_after_the_end_is_refused_with_the_units_to_look_for(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        with pytest.raises(CountDrift) as refused:
            await plant.pack(batch, first_code=ska(1)[0], last_code=ska(12)[0])
        members = refused.value.members
        assert (members["expected_code"], members["scanned_code"], members["drift"]) == (*ska(10, 12), 2)
        assert members["codes"] == ska(*range(1, 13))
        await assert_nothing_packed(plant, batch, queued=20)

    @pytest.mark.parametrize(("excluded", "cause"), [([], "wrong_end"), ([90], "last_not_queued")])
    async def test_a_last_unit_many_cases_further_on_is_taken_out_only_if_it_is_not_queued(
        self, plant: Plant, excluded: list[int], cause: str
    ) -> None:
        batch = await plant.prepared(100, exclude=ska(*excluded), units_per_case=2)
        with pytest.raises(CountDrift) as refused:
            await plant.pack(batch, first_code=ska(1)[0], last_code=ska(90)[0])
        assert refused.value.members["cause"] == cause
        await assert_nothing_packed(plant, batch, queued=100 - len(excluded))

    async def test_a_last_unit_before_the_end_is_refused_with_the_codes_that_are_not_queued(self, plant: Plant) -> None:
        batch = await plant.prepared(30, exclude=ska(3, 7), units_per_case=10)
        with pytest.raises(CountDrift) as refused:
            await plant.pack(batch, first_code=ska(1)[0], last_code=ska(10)[0])
        members = refused.value.members
        assert (members["expected_code"], members["scanned_code"], members["drift"]) == (*ska(12, 10), -2)
        assert members["codes"] == ska(3, 7)
        await assert_nothing_packed(plant, batch, queued=28)

    async def test_naming_the_missing_unit_excludes_it_and_packs_the_rest_in_one_step(self, plant: Plant) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        first, last, missing = ska(1, 11, 4)
        packed = await plant.pack(batch, first_code=first, last_code=last, missing_codes=[missing])
        assert numbers_of(packed) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
        assert packed.master_code_info.completeness == "verified"
        assert await plant.queue(batch, "invalid") == [4]
        assert await plant.events(batch, "codes.missing", "case.packed") == [
            ("codes.missing", "{[4,5)}"),
            ("case.packed", "{[1,4),[5,12)}"),
        ]

    async def test_the_last_unit_of_the_queue_may_be_the_missing_one(self, plant: Plant) -> None:
        batch = await plant.prepared(10, units_per_case=10)
        packed = await plant.pack(batch, last_code=ska(8)[0], missing_codes=ska(9, 10), allow_partial=True)
        assert numbers_of(packed) == list(range(1, 9))
        assert await plant.queue(batch, "invalid") == [9, 10]

    async def test_a_missing_unit_stays_excluded_for_later_jobs_until_it_is_readmitted(self, plant: Plant) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        await plant.pack(batch, missing_codes=ska(4))
        await plant.submit(batch)
        await plant.work("reverse_job")
        assert 4 not in await plant.queue(batch)
        await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(4))
        await plant.submit(batch)
        await plant.work("reverse_job")
        assert numbers_of(await plant.pack(batch, 1)) == [4, *range(12, 21)]

    async def test_a_refused_case_excludes_nothing(self, plant: Plant) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        with pytest.raises(CountDrift):
            await plant.pack(batch, last_code=ska(15)[0], missing_codes=ska(4))
        assert await plant.sql("SELECT id FROM qr_excluded_codes") == []
        assert len(await plant.queue(batch)) == 30

    async def test_a_unit_that_is_packed_cannot_be_missing(self, plant: Plant) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        await plant.pack(batch)
        with pytest.raises(InvalidState, match="packed"):
            await plant.pack(batch, 1, missing_codes=ska(4))

    async def test_a_missing_code_that_is_not_in_the_batch_is_named_by_its_place(self, plant: Plant) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        with pytest.raises(InvalidInput) as refused:
            await plant.pack(batch, missing_codes=[*ska(4), "SKA000999"])
        assert [error.pointer for error in refused.value.errors] == ["/missing_codes/1"]

    async def test_a_run_may_not_cross_what_another_station_packed(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch, first_code=ska(11)[0], station="Line 2")
        await plant.pack(batch, 1, target_units=5, first_code=ska(1)[0], station="Line 1")
        with pytest.raises(CountDrift) as refused:
            await plant.pack(batch, 2, first_code=ska(6)[0], last_code=ska(25)[0], station="Line 1")
        assert refused.value.members["cause"] == "other_station"
        assert refused.value.members["codes"] == ska(*range(11, 21))
        assert refused.value.members["drift"] == 10
        partial = await plant.pack(
            batch, 2, first_code=ska(6)[0], last_code=ska(10)[0], target_units=5, station="Line 1"
        )
        assert partial.master_code_info.completeness == "verified"

    async def test_a_run_may_cross_what_its_own_station_packed(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch, station="Line 1")
        await plant.unlink(ska(5))
        await plant.submit(batch)
        await plant.work("reverse_job")
        packed = await plant.pack(batch, 1, first_code=ska(5)[0], last_code=ska(19)[0], station="Line 1")
        assert numbers_of(packed) == [5, *range(11, 20)]

    async def test_a_station_without_a_name_packs_loose_units_across_cases_of_stations_without_a_name(
        self, plant: Plant
    ) -> None:
        batch = await plant.prepared(40, ska(7), units_per_case=10)
        for case in (0, 1):
            await plant.pack(batch, case)
        await plant.unlink(ska(5, 14))
        await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(7))
        await plant.submit(batch)
        await plant.work("reverse_job")
        packed = await plant.pack(batch, 2, first_code=ska(5)[0], last_code=ska(28)[0])
        assert numbers_of(packed) == [5, 7, 14, *range(22, 29)]
        assert packed.master_code_info.completeness == "verified"

    @pytest.mark.parametrize("other", ["Line 2", None])
    async def test_a_station_without_a_name_may_not_cross_another_roll(self, plant: Plant, other: str | None) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch, first_code=ska(11)[0], station=other)
        for scans in ({"first_code": ska(6)[0]}, {"first_code": ska(6)[0], "last_code": ska(25)[0]}):
            with pytest.raises(CountDrift) as refused:
                await plant.pack(batch, 1, **scans)
            assert refused.value.members["cause"] == "other_station"
            assert refused.value.members["codes"] == ska(*range(11, 21))
        assert numbers_of(await plant.pack(batch, 1, first_code=ska(6)[0], target_units=5)) == list(range(6, 11))

    async def test_a_loose_unit_does_not_excuse_crossing_another_roll(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch)
        await plant.pack(batch, 1, first_code=ska(15)[0])
        await plant.unlink(ska(5))
        await plant.submit(batch)
        await plant.work("reverse_job")
        with pytest.raises(CountDrift) as refused:
            await plant.pack(batch, 2, first_code=ska(5)[0])
        assert refused.value.members["codes"] == ska(*range(15, 25))
        packed = await plant.pack(batch, 2, first_code=ska(5)[0], last_code=ska(14)[0], target_units=5)
        assert numbers_of(packed) == [5, *range(11, 15)]

    async def test_without_check_scans_a_run_may_cross_another_stations_case(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch, first_code=ska(6)[0], station="Line 2")
        assert numbers_of(await plant.pack(batch, 1, station="Line 1")) == [*range(1, 6), *range(16, 21)]


async def test_serials_that_grow_to_seven_digits_stay_in_the_order_of_their_numbers(plant: Plant) -> None:
    await plant.sql(
        "INSERT INTO qr_serial_counters (manufacturer_org_id, prefix, last_number) VALUES (:id, 'SKA', 999996)",
        id=plant.caller.organisation_id,
    )
    batch = await plant.prepared(6, units_per_case=3)
    codes = ["SKA999997", "SKA999998", "SKA999999", "SKA1000000", "SKA1000001", "SKA1000002"]
    listed = await list_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, status=None, after=0, limit=10
    )
    assert [row.code for row in listed] == codes
    packed = await plant.pack(batch, first_code=codes[2], last_code=codes[4])
    assert list(packed.linked_codes) == codes[2:5]
    rest = await plant.pack(batch, 1)
    assert list(rest.linked_codes) == [*codes[:2], codes[5]]
    assert (rest.master_code_info.first_code, rest.master_code_info.last_code) == (codes[0], codes[5])


class TestStaleRows:
    @pytest.mark.parametrize(
        "change",
        [
            "status = 'scanned', scanned_at = now()",
            "status = 'redeemed', redeemed_at = now()",
            "status = 'void', voided_at = now()",
        ],
    )
    async def test_a_queued_unit_that_became_unpackable_is_marked_invalid_and_the_next_is_packed(
        self, plant: Plant, change: str
    ) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        await plant.sql(f"UPDATE qr_codes SET {change} WHERE sequence_number IN (1, 4)")
        assert numbers_of(await plant.pack(batch)) == [2, 3, *range(5, 13)]
        assert await plant.queue(batch, "invalid") == [1, 4]

    async def test_more_stale_units_than_one_query_reads_are_all_skipped(self, plant: Plant) -> None:
        batch = await plant.prepared(500, units_per_case=10)
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number <= 400")
        assert numbers_of(await plant.pack(batch)) == list(range(401, 411))
        assert await plant.queue(batch, "invalid") == list(range(1, 401))
        assert await queue_heads(plant, batch) == [411]

    async def test_a_unit_excluded_while_its_row_was_being_written_is_not_packed(self, plant: Plant) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        await plant.sql(
            "INSERT INTO qr_excluded_codes (manufacturer_org_id, batch_id, sequence_number) VALUES (:org, :id, 2)",
            org=plant.caller.organisation_id,
            id=batch.batch_id,
        )
        assert numbers_of(await plant.pack(batch)) == [1, *range(3, 12)]
        assert await plant.queue(batch, "invalid") == [2]

    async def test_a_unit_that_is_taken_between_query_and_write_is_left_out_by_the_next_try(
        self, plant: Plant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        write = CasePackingRepository.pack
        tries: list[object] = []

        async def scan_first(self: CasePackingRepository, packing: Any) -> bool:
            if not tries:
                await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number = 3")
            tries.append(packing)
            return await write(self, packing)

        monkeypatch.setattr(CasePackingRepository, "pack", scan_first)
        assert numbers_of(await plant.pack(batch)) == [1, 2, *range(4, 12)]
        assert len(tries) == 2
        assert await plant.events(batch, "case.packed") == [("case.packed", "{[1,3),[4,12)}")]

    async def test_a_pack_fails_whole_if_a_unit_is_taken_at_every_try(
        self, plant: Plant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = await plant.prepared(30, units_per_case=10)

        async def taken(self: CasePackingRepository, packing: Any) -> bool:
            return False

        monkeypatch.setattr(CasePackingRepository, "pack", taken)
        with pytest.raises(CodeTakenMeanwhile):
            await plant.pack(batch)
        await assert_nothing_packed(plant, batch, queued=30)


class TestManyStations:
    async def test_eight_stations_lose_nothing_double_nothing_and_pack_whole_runs(self, plant: Plant) -> None:
        batch = await plant.prepared(1000, exclude=ska(5, 104, 500, 501, 999), units_per_case=10)
        queue = await plant.queue(batch)
        waiting = list(range(len(batch.master_codes)))

        async def station(name: str) -> list[list[int]]:
            cases = []
            while waiting:
                cases.append(numbers_of(await plant.pack(batch, waiting.pop(0), station=name, allow_partial=True)))
            return cases

        async with asyncio.timeout(HANG_SECONDS):
            stations = await asyncio.gather(*(station(f"Line {number}") for number in range(8)))
        cases = [case for station in stations for case in station]
        assert len(cases) == 100
        assert sorted(number for case in cases for number in case) == queue
        places = {number: place for place, number in enumerate(queue)}
        for case in cases:
            assert [places[number] - places[case[0]] for number in case] == list(range(len(case)))
        rows = await plant.sql(
            "SELECT (SELECT count(*) FROM qr_codes AS code WHERE code.master_code_id = box.id) AS inside, actual_units"
            " FROM qr_master_codes AS box"
        )
        assert all(row.inside == row.actual_units for row in rows)

    async def test_two_stations_each_on_its_own_roll_pack_side_by_side(self, plant: Plant) -> None:
        batch = await plant.prepared(400, units_per_case=10)

        async def station(name: str, start: int, cases: range) -> list[str | None]:
            ends = []
            for place, case in enumerate(cases):
                first, last = ska(start + 10 * place, start + 10 * place + 9)
                packed = await plant.pack(batch, case, first_code=first, last_code=last, station=name)
                ends.append(packed.master_code_info.completeness)
            return ends

        ends = await asyncio.gather(station("A", 1, range(20)), station("B", 201, range(20, 40)))
        assert set(ends[0] + ends[1]) == {"verified"}
        assert await plant.queue(batch) == []

    async def test_no_excluded_unit_is_packed_while_jobs_run_and_exclusions_arrive(
        self, plant: Plant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qrtrack.services.packing.preparation.CHUNK", 17)
        batch = await plant.batch(600, units_per_case=10)
        await plant.submit(batch, ska(3))
        cases, ended = list(range(60)), asyncio.Event()

        async def prepare() -> None:
            while not ended.is_set():
                await plant.work("reverse_job")
                await asyncio.sleep(0)

        async def submit() -> None:
            for number in range(7, 600, 40):
                await plant.submit(batch, ska(number))
            ended.set()

        async def station(name: str) -> None:
            while cases and not (ended.is_set() and not await plant.queue(batch)):
                case = cases.pop(0)
                try:
                    await plant.pack(batch, case, station=name, allow_partial=True)
                except NotEnoughPrepared:
                    cases.append(case)
                    await asyncio.sleep(0.005)

        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(prepare(), submit(), station("A"), station("B"))
        packed_after_exclusion = await plant.sql(
            "SELECT code.code FROM qr_codes AS code"
            " JOIN trace_events AS pack ON pack.master_code_id = code.master_code_id AND pack.action = 'case.packed'"
            " JOIN trace_events AS submission ON submission.action = 'reverse_job.submitted'"
            " AND submission.sequences @> code.sequence_number AND submission.id < pack.id"
        )
        assert packed_after_exclusion == []
        runs = await plant.sql("SELECT sequences, unit_count FROM trace_events WHERE action = 'case.packed'")
        packed = await plant.sql("SELECT count(*) AS codes FROM qr_codes WHERE status = 'packed'")
        assert sum(run.unit_count for run in runs) == packed[0].codes > 0
        found = await plant.reconcile(batch)
        assert found.differences == []
        assert found.in_case == packed[0].codes


async def test_the_queue_head_stops_where_a_running_job_may_still_queue_codes(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await plant.prepared(30, exclude=ska(2), units_per_case=5)
    await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(2))
    await plant.submit(batch)
    assert numbers_of(await plant.pack(batch)) == [1, 3, 4, 5, 6]
    await plant.work("reverse_job")
    assert numbers_of(await plant.pack(batch, 1)) == [2, 7, 8, 9, 10]


async def test_codes_that_a_running_job_queues_before_the_packed_cases_are_packed(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.services.packing.preparation.CHUNK", 4)
    batch = await plant.prepared(30, exclude=ska(12), units_per_case=5)
    await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(12))
    await plant.submit(batch)
    database = plant.runtime.database
    claims = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    with pytest.raises(Interrupted):
        await run_reverse_job(database, claims[0], AfterOneChunk())
    for case in range(3):
        await plant.pack(batch, case)
    await run_reverse_job(database, claims[0], StopSignal())
    assert numbers_of(await plant.pack(batch, 3)) == [12, 17, 18, 19, 20]


async def test_the_queue_head_moves_past_consumed_rows(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await plant.pack(batch)
    await plant.pack(batch, 1, first_code=ska(11)[0])
    assert await queue_heads(plant, batch) == [21]


def skipped(count: int, first: int, last: int, *, more: bool = False) -> Skipped:
    return Skipped(count, ska(first)[0], ska(last)[0], more)


class TestSkipped:
    """A run that begins further on says what it leaves waiting."""

    @pytest.mark.parametrize("scans", [{}, {"last_code": ska(40)[0]}])
    async def test_waiting_units_before_the_first_scan_are_reported(self, plant: Plant, scans: dict[str, Any]) -> None:
        batch = await plant.prepared(60, ska(30), units_per_case=10)
        packed = await plant.pack(batch, first_code=ska(31)[0], **scans)
        assert packed.skipped == skipped(29, 1, 29)
        assert packed.master_code_info.completeness == ("verified" if scans else "inferred")
        again = await plant.pack(batch, 1, first_code=ska(41)[0])
        assert again.skipped == skipped(29, 1, 29)

    async def test_a_run_from_the_head_skips_nothing(self, plant: Plant) -> None:
        batch = await plant.prepared(60, ska(1), units_per_case=10)
        assert (await plant.pack(batch)).skipped is None
        assert (await plant.pack(batch, 1, first_code=ska(12)[0])).skipped is None

    async def test_packed_excluded_and_checked_units_are_not_counted_as_skipped(self, plant: Plant) -> None:
        batch = await plant.prepared(60, ska(9), units_per_case=10)
        await plant.pack(batch, target_units=5)
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number IN (6, 20)")
        await void_codes(
            plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(10), reason="Wet"
        )
        packed = await plant.pack(batch, 1, first_code=ska(21)[0])
        assert packed.skipped == skipped(11, 7, 19)

    async def test_a_checked_unit_at_the_head_is_not_skipped(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number = 1")
        assert (await plant.pack(batch, first_code=ska(2)[0])).skipped is None

    async def test_the_queues_of_other_variants_are_not_skipped(self, plant: Plant) -> None:
        batch = await plant.prepared(variants=[("5g", 10), ("10g", 10)], units_per_case=5)
        assert (await plant.pack(batch, 2, first_code=ska(13)[0])).skipped == skipped(2, 11, 12)

    async def test_counting_stops_at_a_limit(self, plant: Plant) -> None:
        batch = await plant.prepared(3000, units_per_case=10)
        assert (await plant.pack(batch, first_code=ska(1001)[0])).skipped == skipped(1000, 1, 1000)
        assert (await plant.pack(batch, 1, first_code=ska(2501)[0])).skipped == skipped(1000, 1, 2500, more=True)

    async def test_counting_costs_no_round_trip(self, plant: Plant) -> None:
        batch = await plant.prepared(60, units_per_case=10)
        fetch_all = CasePackingRepository._fetch_all
        with patch.object(CasePackingRepository, "_fetch_all", autospec=True, side_effect=fetch_all) as sent:
            await plant.pack(batch, first_code=ska(31)[0], last_code=ska(40)[0])
        assert sent.call_count == 3


class TestCheckedBeforePacked:
    """A consumer had the unit before it was in a box."""

    @pytest.mark.parametrize("state", ["scanned", "redeemed"])
    async def test_units_that_a_consumer_checked_are_named(self, plant: Plant, state: str) -> None:
        batch = await plant.prepared(30, units_per_case=10)
        await plant.sql("UPDATE qr_codes SET status = :state WHERE sequence_number IN (3, 4, 25)", state=state)
        packed = await plant.pack(batch)
        assert list(packed.left_queue) == ska(3, 4)
        assert numbers_of(packed) == [1, 2, *range(5, 13)]
        assert await plant.queue(batch, "invalid") == [3, 4]
        assert await plant.events(batch, "codes.checked_before_packed") == [("codes.checked_before_packed", "{[3,5)}")]
        assert list((await plant.pack(batch, 1)).left_queue) == []

    async def test_a_unit_that_another_case_holds_was_not_checked_before(self, plant: Plant) -> None:
        """A chunk of a job may queue a unit that is linked by hand at that moment."""
        batch = await plant.prepared(30, units_per_case=10)
        await plant.link(batch, ska(3), case=1)
        await plant.sql("UPDATE qr_prepared_codes SET status = 'prepared', consumed_at = NULL")
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number = 3")
        packed = await plant.pack(batch)
        assert list(packed.left_queue) == []
        assert await plant.queue(batch, "invalid") == [3]
