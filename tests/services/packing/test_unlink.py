"""Undoing a link: codes back to what they were, cases open again, one event for each batch."""

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Row

from plant import MadeBatch, Plant, ska
from qrtrack.domain.errors import InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.case_packing import PackedCase
from qrtrack.services.packing.codes import mark_printed, readmit_codes
from qrtrack.services.packing.links import CodesNotPacked, UnlinkedCodes, unlink_codes
from qrtrack.services.retention import prune
from ticking import HANG_SECONDS


async def case_row(plant: Plant, batch: MadeBatch, case: int = 0) -> Row[tuple[object, ...]]:
    rows = await plant.sql(
        "SELECT status, actual_units, first_code, last_code, completeness, packed_at, packed_by, station"
        " FROM qr_master_codes WHERE master_code = :code",
        code=batch.master_codes[case],
    )
    row: Row[tuple[object, ...]] = rows[0]
    return row


async def test_a_unit_is_unlinked_without_naming_its_case(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    unlinked = await plant.unlink(ska(1, 5), reason="Wrong label")
    assert (unlinked.unlinked_codes, unlinked.unlinked_count) == (ska(1, 5), 2)
    row = await case_row(plant, batch)
    assert (row.status, row.actual_units, row.first_code, row.last_code) == ("packed", 8, *ska(2, 10))
    assert row.packed_by == plant.caller.user_id
    assert await plant.events(batch, "codes.unlinked") == [("codes.unlinked", "{[1,2),[5,6)}")]
    event = (await plant.sql("SELECT reason, details FROM trace_events WHERE action = 'codes.unlinked'"))[0]
    assert (event.reason, event.details) == ("Wrong label", {"master_codes": [batch.master_codes[0]]})


async def test_a_case_without_units_is_open_again_and_can_be_packed_again(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch, station="Line 1")
    assert (await plant.unlink(master_code=batch.master_codes[0])).unlinked_count == 10
    assert set(await case_row(plant, batch)) == {"open", 0, None}
    assert list((await plant.pack(batch)).linked_codes) == ska(*range(1, 11))


async def test_unlinked_units_return_to_the_status_before_packing(plant: Plant) -> None:
    batch = await plant.prepared(10, units_per_case=10)
    await mark_printed(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(1, 2))
    await plant.pack(batch)
    await plant.unlink(ska(2, 3))
    states = await plant.states(batch)
    assert (states[2], states[3], states[4]) == ("printed", "generated", "packed")


async def test_units_of_two_batches_and_of_several_cases_are_one_request(plant: Plant) -> None:
    first, second = await plant.prepared(20, units_per_case=10), await plant.prepared(20, units_per_case=10)
    await plant.pack(first)
    await plant.pack(first, 1)
    await plant.pack(second)
    assert (await plant.unlink(ska(1, 11, 21))).unlinked_count == 3
    assert await plant.events(first, "codes.unlinked") == [("codes.unlinked", "{[1,2),[11,12)}")]
    assert await plant.events(second, "codes.unlinked") == [("codes.unlinked", "{[1,2)}")]
    assert [(await case_row(plant, first, case)).actual_units for case in (0, 1)] == [9, 9]


@pytest.mark.parametrize("state", ["generated", "scanned", "redeemed", "void"])
async def test_one_unit_that_is_not_packed_stops_the_whole_list(plant: Plant, state: str) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    if state != "generated":
        await plant.sql(
            "UPDATE qr_codes SET status = :state, voided_at = CASE WHEN :state = 'void' THEN now() END,"
            " master_code_id = CASE WHEN :state <> 'void' THEN master_code_id END WHERE sequence_number = 2",
            state=state,
        )
    number = 11 if state == "generated" else 2
    with pytest.raises(CodesNotPacked) as refused:
        await plant.unlink(ska(1, number))
    assert refused.value.members["codes"] == [{"code": ska(number)[0], "state": state}]
    assert (await plant.states(batch))[1] == "packed"
    assert await plant.events(batch, "codes.unlinked") == []


async def test_an_unknown_code_is_not_found_and_all_of_them_are_named(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await plant.pack(batch)
    with pytest.raises(NotFound) as refused:
        await plant.unlink([*ska(1), "SKA000999", "SKA000998"])
    assert refused.value.members["codes"] == ["SKA000999", "SKA000998"]


async def test_an_empty_case_has_nothing_to_unlink(plant: Plant) -> None:
    batch = await plant.prepared(10)
    with pytest.raises(InvalidState, match="empty"):
        await plant.unlink(master_code=batch.master_codes[0])


async def test_an_unknown_case_is_not_found(plant: Plant) -> None:
    with pytest.raises(NotFound):
        await plant.unlink(master_code="NOSUCHCASE-C0001")


async def test_an_empty_list_is_bad_input(plant: Plant) -> None:
    with pytest.raises(InvalidInput):
        await plant.unlink([])


async def test_a_unit_that_is_listed_twice_comes_out_once(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await plant.pack(batch)
    assert (await plant.unlink(ska(1, 1))).unlinked_count == 1


async def test_units_and_cases_of_another_organisation_are_not_found(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await plant.pack(batch)
    stranger = Caller("stranger", uuid4(), plant.caller.roles)
    for codes, master_code in ((ska(1), None), (None, batch.master_codes[0])):
        with pytest.raises(NotFound):
            await unlink_codes(
                plant.runtime.database, caller=stranger, codes=codes, master_code=master_code, reason="Mine"
            )


async def test_requests_for_the_same_two_batches_do_not_deadlock(plant: Plant) -> None:
    first, second = await plant.prepared(40, units_per_case=10), await plant.prepared(40, units_per_case=10)
    for case in range(4):
        await plant.pack(first, case)
        await plant.pack(second, case)
    pairs = [(number, 40 + number) if number % 2 else (40 + number, number) for number in range(1, 41)]
    async with asyncio.timeout(HANG_SECONDS):
        ends = await asyncio.gather(*(plant.unlink(ska(*pair)) for pair in pairs), return_exceptions=True)
    assert all(isinstance(end, UnlinkedCodes) for end in ends)
    assert {row.actual_units for row in await plant.sql("SELECT actual_units FROM qr_master_codes")} == {0}


async def test_a_unit_unlinked_twice_at_once_is_unlinked_once(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await plant.pack(batch)
    ends = await asyncio.gather(*(plant.unlink(ska(4)) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(end, UnlinkedCodes) for end in ends) == 1
    assert sum(isinstance(end, CodesNotPacked) for end in ends) == 3
    assert (await case_row(plant, batch)).actual_units == 9


async def job_summary(plant: Plant, job_id: UUID) -> dict[str, int]:
    rows = await plant.sql("SELECT result_summary FROM qr_reverse_jobs WHERE id = :id", id=job_id)
    return dict(rows[0].result_summary)


class TestRequeue:
    """What a case took from the queue returns to its place there."""

    async def test_after_unlinking_the_wrong_case_the_right_case_takes_the_same_units(self, plant: Plant) -> None:
        batch = await plant.prepared(500, ska(*range(1, 251), *range(451, 501)), units_per_case=50)
        assert list((await plant.pack(batch, 1)).linked_codes) == ska(*range(251, 301))
        undone = await plant.unlink(master_code=batch.master_codes[1])
        assert (undone.unlinked_count, undone.requeued, undone.left_out) == (50, 50, 0)
        assert list((await plant.pack(batch, 0)).linked_codes) == ska(*range(251, 301))
        assert await plant.queue(batch) == list(range(301, 451))
        assert (await plant.reconcile(batch)).differences == []

    async def test_a_requeued_unit_is_found_as_the_scanned_first_unit(self, plant: Plant) -> None:
        batch = await plant.prepared(40, units_per_case=10)
        await plant.pack(batch, 1)
        await plant.unlink(master_code=batch.master_codes[1])
        packed = await plant.pack(batch, 0, first_code=ska(1)[0], last_code=ska(10)[0])
        assert packed.master_code_info.completeness == "verified"
        assert packed.skipped is None

    async def test_units_that_were_scanned_one_by_one_return_as_well(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        await plant.pack(batch)
        await plant.link(batch, ska(13, 15), case=1)
        undone = await plant.unlink(ska(13, 5, 15))
        assert (undone.requeued, undone.left_out) == (3, 0)
        assert await plant.queue(batch) == [5, *range(11, 21)]
        assert await plant.queue(batch, "consumed") == [*range(1, 5), *range(6, 11)]

    async def test_units_that_no_job_had_prepared_are_left_out(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        await plant.link(batch, ska(1, 2))
        undone = await plant.unlink(ska(1, 2))
        assert (undone.unlinked_count, undone.requeued, undone.left_out) == (2, 0, 2)
        assert await plant.queue(batch) == []

    async def test_a_row_that_an_earlier_link_consumed_does_not_return(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        await plant.pack(batch)
        await plant.unlink(ska(1, 2), requeue=False)
        await plant.link(batch, ska(1))
        undone = await plant.unlink(ska(1))
        assert (undone.requeued, undone.left_out) == (0, 1)
        assert await plant.queue(batch) == []

    async def test_without_requeue_the_units_wait_for_a_new_job(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        await plant.pack(batch)
        undone = await plant.unlink(master_code=batch.master_codes[0], requeue=False)
        assert (undone.unlinked_count, undone.requeued, undone.left_out) == (10, 0, 10)
        assert await plant.queue(batch) == list(range(11, 21))
        job_id = await plant.submit(batch)
        await plant.work("reverse_job")
        summary = await job_summary(plant, job_id)
        assert (summary["prepared"], summary["duplicates"]) == (10, 10)

    async def test_unlinking_returns_the_queue_row_that_the_link_consumed(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        await plant.pack(batch)
        await plant.unlink(ska(3), requeue=False)
        second = await plant.submit(batch)
        await plant.work("reverse_job")
        await plant.link(batch, ska(3))
        assert (await plant.unlink(ska(3))).requeued == 1
        rows = await plant.sql("SELECT job_id, status FROM qr_prepared_codes WHERE sequence_number = 3 ORDER BY id")
        assert [(row.job_id == second, row.status) for row in rows] == [(False, "consumed"), (True, "prepared")]

    async def test_units_excluded_meanwhile_do_not_return(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        await plant.pack(batch)
        await plant.submit(batch, ska(4))
        undone = await plant.unlink(ska(3, 4))
        assert (undone.requeued, undone.left_out) == (1, 1)
        assert await plant.queue(batch) == [3]
        found = await plant.reconcile(batch)
        assert (found.prepared, found.excluded, found.in_case) == (1, 1, 8)

    async def test_units_that_a_cancelled_job_prepared_do_not_return(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        await plant.pack(batch)
        await plant.sql(
            "UPDATE qr_reverse_jobs SET status = 'cancelled', progress = 95, result_summary = NULL, finished_at = now()"
        )
        undone = await plant.unlink(ska(3))
        assert (undone.requeued, undone.left_out) == (0, 1)
        assert await plant.queue(batch) == []

    async def test_units_whose_rows_were_pruned_do_not_return(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        await plant.pack(batch)
        await plant.sql("UPDATE qr_reverse_jobs SET finished_at = now() - interval '100 days'")
        await plant.sql(
            "UPDATE qr_prepared_codes SET consumed_at = now() - interval '100 days' WHERE status = 'consumed'"
        )
        assert (await prune(plant.runtime.database, days=90))["prepared_codes"] == 10
        undone = await plant.unlink(ska(3))
        assert (undone.requeued, undone.left_out) == (0, 1)

    async def test_a_unit_that_a_newer_job_has_queued_again_is_no_error(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        await plant.pack(batch)
        newer = await plant.submit(batch)
        await plant.sql(
            "INSERT INTO qr_prepared_codes (manufacturer_org_id, job_id, batch_id, order_id, sequence_number, code)"
            " SELECT manufacturer_org_id, :job_id, batch_id, order_id, sequence_number, code FROM qr_prepared_codes"
            " WHERE sequence_number = 3",
            job_id=newer,
        )
        undone = await plant.unlink(ska(3, 4))
        assert (undone.requeued, undone.left_out) == (2, 0)
        assert await plant.queue(batch) == [3, 4]

    async def test_a_job_that_counted_before_does_not_count_returned_units(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        await plant.pack(batch)
        waiting = await plant.submit(batch)
        await plant.unlink(ska(1, 2))
        await plant.work("reverse_job")
        summary = await job_summary(plant, waiting)
        assert (summary["total_available"], summary["duplicates"], summary["prepared"]) == (12, 12, 0)
        assert await plant.queue(batch) == [1, 2, *range(11, 21)]

    async def test_units_of_several_variants_return_each_to_its_own_queue(self, plant: Plant) -> None:
        batch = await plant.prepared(variants=[("5g", 10), ("10g", 10)], units_per_case=5)
        for case in (0, 2):
            await plant.pack(batch, case)
        await plant.unlink(ska(2, 13))
        assert list((await plant.pack(batch, 1)).linked_codes) == ska(2, *range(6, 10))
        assert list((await plant.pack(batch, 3)).linked_codes) == ska(13, *range(16, 20))

    async def test_stations_that_pack_and_undo_at_once_lose_and_double_nothing(self, plant: Plant) -> None:
        batch = await plant.prepared(300, units_per_case=10)

        async def station(cases: range) -> None:
            for case in cases:
                await plant.pack(batch, case)
                if case % 2:
                    await plant.unlink(master_code=batch.master_codes[case])
                    await plant.pack(batch, case)

        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(*(station(range(first, first + 6)) for first in range(0, 30, 6)))
        assert await plant.queue(batch) == []
        found = await plant.reconcile(batch)
        assert (found.in_case, found.differences) == (300, [])
        rows = await plant.sql("SELECT count(*) AS rows, count(DISTINCT code) AS codes FROM qr_prepared_codes")
        assert tuple(rows[0]) == (300, 300)

    async def test_undoing_and_packing_at_once_leave_each_unit_in_one_place(self, plant: Plant) -> None:
        for _ in range(5):
            batch = await plant.prepared(20, units_per_case=10)
            await plant.pack(batch)
            _, packed = await asyncio.gather(plant.unlink(master_code=batch.master_codes[0]), plant.pack(batch, 1))
            assert isinstance(packed, PackedCase)
            found = await plant.reconcile(batch)
            assert (found.in_case, found.prepared, found.differences) == (10, 10, [])


async def test_units_of_a_closed_batch_cannot_be_unlinked(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="Run short")
    for asked in ({"codes": ska(1)}, {"master_code": batch.master_codes[0]}):
        with pytest.raises(BatchClosed):
            await plant.unlink(**asked)
    assert (await case_row(plant, batch)).actual_units == 10


async def test_a_closed_batch_stops_a_request_for_two_batches(plant: Plant) -> None:
    first, second = await plant.prepared(10), await plant.prepared(10)
    await plant.pack(first)
    await plant.pack(second)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=second.batch_id, reason="Run short")
    with pytest.raises(BatchClosed):
        await plant.unlink(ska(1, 11))
    assert (await plant.states(first))[1] == "packed"


async def test_a_readmitted_unit_that_was_linked_by_hand_waits_for_a_job(plant: Plant) -> None:
    batch = await plant.prepared(10)
    await plant.submit(batch, ska(2))
    await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(2))
    await plant.link(batch, ska(2))
    assert (await plant.unlink(ska(2))).left_out == 1
