"""Moving a box to the case that it belongs in: all of it or nothing, and one of two at once."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from plant import MadeBatch, Plant, ska
from qrtrack.domain.errors import DomainError, InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.case_packing import CaseAlreadyPacked, CaseOfOtherBatch, VariantMismatch
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.links import UnlinkedCodes
from qrtrack.services.packing.moves import CaseTooSmall, MovedCase, move_case
from ticking import HANG_SECONDS


async def case_rows(plant: Plant, batch: MadeBatch) -> list[Any]:
    return list(
        await plant.sql(
            "SELECT status, actual_units, first_code, last_code, first_sequence, last_sequence, completeness,"
            " packed_at, packed_by, station FROM qr_master_codes WHERE batch_id = :id ORDER BY case_number",
            id=batch.batch_id,
        )
    )


async def inside(plant: Plant, batch: MadeBatch, case: int) -> list[int]:
    rows = await plant.sql(
        "SELECT code.sequence_number FROM qr_codes AS code JOIN qr_master_codes AS box ON box.id = code.master_code_id"
        " WHERE box.master_code = :code ORDER BY 1",
        code=batch.master_codes[case],
    )
    return [row.sequence_number for row in rows]


async def test_the_units_move_with_the_record_of_their_packing(plant: Plant) -> None:
    batch = await plant.prepared(40, units_per_case=10)
    await plant.pack(batch, 1, first_code=ska(1)[0], last_code=ska(10)[0], station="Line 1")
    before = await case_rows(plant, batch)
    moved = await plant.move(batch, 1, 0)
    assert moved.moved_count == 10
    assert moved.master_code_info.master_code == batch.master_codes[0]
    assert (moved.master_code_info.actual_units, moved.master_code_info.completeness) == (10, "verified")
    assert (moved.master_code_info.first_code, moved.master_code_info.last_code) == (ska(1)[0], ska(10)[0])
    after = await case_rows(plant, batch)
    assert (after[0], after[1]) == (before[1], before[0])
    assert (await inside(plant, batch, 0), await inside(plant, batch, 1)) == (list(range(1, 11)), [])
    assert list((await plant.pack(batch, 1)).linked_codes) == ska(*range(11, 21))


async def test_units_that_a_consumer_has_checked_move_too(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await plant.sql("UPDATE qr_codes SET status = 'scanned', scanned_at = now() WHERE sequence_number = 3")
    await plant.sql("UPDATE qr_codes SET status = 'redeemed', redeemed_at = now() WHERE sequence_number = 4")
    assert (await plant.move(batch, 0, 1)).moved_count == 10
    assert await inside(plant, batch, 1) == list(range(1, 11))
    states = await plant.states(batch)
    assert (states[2], states[3], states[4]) == ("packed", "scanned", "redeemed")


async def test_only_the_units_of_the_case_move_where_others_lie_between_them(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await plant.link(batch, ska(1, 5, 9), case=0)
    await plant.link(batch, ska(2, 6), case=1)
    assert (await plant.move(batch, 0, 2)).moved_count == 3
    assert (await inside(plant, batch, 1), await inside(plant, batch, 2)) == ([2, 6], [1, 5, 9])


async def test_one_event_records_the_move_for_both_cases_and_each_unit(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await plant.move(batch, 0, 1)
    assert await plant.events(batch, "case.moved") == [("case.moved", "{[1,11)}")]
    event = (await plant.sql("SELECT reason, actor, details FROM trace_events WHERE action = 'case.moved'"))[0]
    assert (event.reason, event.actor) == ("Wrong case scanned", plant.caller.user_id)
    assert event.details["master_codes"] == list(batch.master_codes[:2])
    for asked in (*batch.master_codes[:2], *ska(1)):
        assert (await plant.trace(asked)).events[-1].action == "case.moved"


async def test_units_unlinked_after_a_move_return_to_the_queue(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await plant.move(batch, 0, 1)
    undone = await plant.unlink(master_code=batch.master_codes[1])
    assert (undone.requeued, undone.left_out) == (10, 0)
    assert list((await plant.pack(batch)).linked_codes) == ska(*range(1, 11))


async def refused(plant: Plant, batch: MadeBatch, source: int, target: int) -> DomainError:
    before = await case_rows(plant, batch)
    with pytest.raises(DomainError) as refusal:
        await plant.move(batch, source, target)
    assert await case_rows(plant, batch) == before
    assert await plant.events(batch, "case.moved") == []
    return refusal.value


async def test_a_packed_case_takes_no_units(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await plant.pack(batch)
    await plant.link(batch, ska(15), case=1)
    refusal = await refused(plant, batch, 0, 1)
    assert isinstance(refusal, CaseAlreadyPacked)
    assert refusal.members["master_code_info"]["actual_units"] == 1


async def test_a_case_that_is_too_small_takes_no_units(plant: Plant) -> None:
    batch = await plant.prepared(25, units_per_case=10)
    await plant.pack(batch)
    refusal = await refused(plant, batch, 0, 2)
    assert isinstance(refusal, CaseTooSmall)
    assert (refusal.members["expected_units"], refusal.members["units"]) == (5, 10)
    await plant.unlink(ska(*range(1, 6)))
    assert (await plant.move(batch, 0, 2)).moved_count == 5


async def test_a_case_of_another_batch_takes_no_units(plant: Plant) -> None:
    batch, other = await plant.prepared(10), await plant.prepared(10)
    await plant.pack(batch)
    with pytest.raises(CaseOfOtherBatch):
        await plant.move(batch, 0, other.master_codes[0])
    assert await inside(plant, batch, 0) == list(range(1, 11))


async def test_a_case_of_another_variant_takes_no_units(plant: Plant) -> None:
    batch = await plant.prepared(variants=[("5g", 10), ("10g", 10)], units_per_case=10)
    await plant.pack(batch)
    assert isinstance(await refused(plant, batch, 0, 1), VariantMismatch)


async def test_no_case_of_a_closed_batch_moves(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="Run short")
    assert isinstance(await refused(plant, batch, 0, 1), BatchClosed)


async def test_an_empty_case_cannot_be_moved(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    refusal = await refused(plant, batch, 0, 1)
    assert isinstance(refusal, InvalidState)
    assert refusal.members["state"] == "open"


async def test_a_case_does_not_move_to_itself(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    refusal = await refused(plant, batch, 0, 0)
    assert isinstance(refusal, InvalidInput)
    assert [error.pointer for error in refusal.errors] == ["/to_master_code"]


async def test_unknown_cases_and_those_of_another_organisation_are_not_found(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    for named in (("NONE-C0001", batch.master_codes[1]), (batch.master_codes[0], "NONE-C0001")):
        with pytest.raises(NotFound):
            await move_case(
                plant.runtime.database, caller=plant.caller, from_master_code=named[0], to_master_code=named[1],
                reason="x",
            )  # fmt: skip
    stranger = Caller("stranger", uuid4(), plant.caller.roles)
    with pytest.raises(NotFound):
        await move_case(
            plant.runtime.database, caller=stranger, from_master_code=batch.master_codes[0],
            to_master_code=batch.master_codes[1], reason="x",
        )  # fmt: skip


async def test_one_of_two_concurrent_moves_wins(plant: Plant) -> None:
    for _ in range(5):
        batch = await plant.prepared(30, units_per_case=10)
        await plant.pack(batch)
        ends = await asyncio.gather(plant.move(batch, 0, 1), plant.move(batch, 0, 2), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["InvalidState", "MovedCase"]
        assert sorted([len(await inside(plant, batch, case)) for case in range(3)]) == [0, 0, 10]


async def test_two_boxes_into_one_case_at_once_and_boxes_in_a_ring_do_not_deadlock(plant: Plant) -> None:
    batch = await plant.prepared(40, units_per_case=10)
    for case in range(3):
        await plant.pack(batch, case)
    async with asyncio.timeout(HANG_SECONDS):
        ends = await asyncio.gather(
            *(plant.move(batch, source, target) for source, target in ((0, 3), (1, 3), (2, 0), (0, 1), (1, 2), (3, 2))),
            plant.unlink(ska(1, 11, 21)),
            return_exceptions=True,
        )
    assert all(isinstance(end, MovedCase | UnlinkedCodes | DomainError) for end in ends)
    found = await plant.reconcile(batch)
    assert (found.in_case, found.prepared, found.differences) == (27, 13, [])
    for case, row in enumerate(await case_rows(plant, batch)):
        assert row.actual_units == len(await inside(plant, batch, case))
