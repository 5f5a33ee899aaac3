"""Undoing a link: codes back to what they were, cases open again, one event for each batch."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import Row

from plant import MadeBatch, Plant, ska
from qrtrack.domain.errors import InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.services.codes import mark_printed
from qrtrack.services.links import CodesNotPacked, UnlinkedCodes, unlink_codes


async def case_row(plant: Plant, batch: MadeBatch, case: int = 0) -> Row[tuple[object, ...]]:
    rows = await plant.sql(
        "SELECT status, actual_units, first_code, last_code, completeness, packed_at, packed_by, station"
        " FROM qr_master_codes WHERE master_code = :code",
        code=batch.master_codes[case],
    )
    row: Row[tuple[object, ...]] = rows[0]
    return row


async def test_a_unit_comes_out_of_its_case_without_naming_it(plant: Plant) -> None:
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


async def test_a_case_without_units_is_open_again_and_may_be_packed_anew(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch, station="Line 1")
    assert (await plant.unlink(master_code=batch.master_codes[0])).unlinked_count == 10
    assert set(await case_row(plant, batch)) == {"open", 0, None}
    await plant.submit(batch)
    await plant.work("reverse_job")
    assert list((await plant.pack(batch)).linked_codes) == ska(*range(1, 11))


async def test_units_become_what_they_were_before_they_were_packed(plant: Plant) -> None:
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
async def test_one_unit_that_is_not_packed_stops_all_of_it(plant: Plant, state: str) -> None:
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


async def test_a_list_that_names_no_unit_is_bad_input(plant: Plant) -> None:
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


async def test_requests_over_the_same_two_batches_do_not_wait_for_each_other_for_ever(plant: Plant) -> None:
    first, second = await plant.prepared(40, units_per_case=10), await plant.prepared(40, units_per_case=10)
    for case in range(4):
        await plant.pack(first, case)
        await plant.pack(second, case)
    pairs = [(number, 40 + number) if number % 2 else (40 + number, number) for number in range(1, 41)]
    async with asyncio.timeout(30):
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
